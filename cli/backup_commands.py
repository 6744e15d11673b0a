"""`basin admin backup` and `basin admin restore`: the database and the storage, to a folder and back.

The work is done by the control plane's own process (`api/backup/__main__.py`), where its settings are known.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn

from cli.control_plane import control_plane
from cli.data_page import readable_bytes
from cli.failure import ExitCode, Failure
from cli.options import AsJson, print_json
from cli.part_process import messages, no_answer
from cli.stack.control import ask
from cli.stack.home import Home

MODULE = "api.backup"
WRITERS = ("beat", "celery", "api", "ray")
"""Parts that write to the database or the storage, in the order to stop them."""
SHOWN = {"runs": "runs", "metric_points": "metric points", "users": "people", "tokens": "tokens"}
INTERRUPTED = {
    "make": "it was interrupted; a backup that was cut off does not count as one, and the same command makes it anew",
    "restore": "it was interrupted: before anything is started run the same command again, with --replace",
}
PHASES = {"verify": "verifying", "files": "files", "database": "database"}

Folder = Annotated[str, typer.Argument(metavar="FOLDER", help="Of one backup; may lie on another disk.")]


def backup(
    folder: Annotated[
        str,
        typer.Argument(
            metavar="FOLDER", help="New folder for it, e.g. backups/2026-11-27; shares what the last one beside it has."
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Save database and storage to a folder while everything runs; needs BASIN_HOME, or the API's variables."""
    _, environment = control_plane()
    made = _follow("make", ["--", folder], environment)
    if as_json:
        print_json(made)
        return
    size = readable_bytes(made["storage_bytes"] + made["database_bytes"])
    needed, free = made["restore_needs_bytes"], made["storage_free_bytes"]
    shared = f", {made['linked']:,} of them shared with {made['base']}" if made["linked"] else ""
    typer.echo(f"{made['folder']}: {_contents(made)}, {made['files']:,} files{shared}; {size}")
    if free < needed:
        typer.echo(
            f"note: there is no room to restore it here: that needs {readable_bytes(needed)} beside what is on the"
            f" storage, which has {readable_bytes(free)} free"
        )


def restore_backup(
    folder: Folder,
    replace: Annotated[
        bool, typer.Option("--replace", help="Also where there are runs already, which are gone then.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Verify the backup and say what would happen; change nothing.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Bring back what `basin admin backup` saved: verify it, then replace database and storage.

    On a local stack, which must be running, it holds API, Celery and Ray meanwhile. In a deployment stop them first.
    """
    home, environment = control_plane()
    if dry_run:
        # What runs is in nobody's way: nothing is written.
        verified = _follow("verify", ["--", folder], environment)
        print_json(verified) if as_json else typer.echo(f"{folder} is whole: {_contents(verified)}")
        return
    if as_json and not yes:
        raise Failure("with --json give --yes too, since nobody can be asked", ExitCode.refused)
    with _held(home) as held:
        plan = _follow("plan", ["--", folder], environment)
        if not as_json:
            _show(plan)
        if plan["replaces"] and not replace:
            raise Failure("there are runs already: --replace removes them", ExitCode.refused)
        if not yes and not typer.confirm("Restore?"):
            raise Failure("nothing was changed", ExitCode.failed)
        try:
            restored = _follow("restore", [*(["--replace"] if replace else []), "--", folder], environment)
        except Failure as failure:
            held.start_again = failure.exit_code is ExitCode.refused  # Then all is as it was.
            raise
    print_json(restored) if as_json else typer.echo(f"restored: {_contents(restored)}, {restored['files']:,} files")


@dataclass
class Held:
    """Parts of a local stack that are down meanwhile."""

    start_again: bool = True


@contextmanager
def _held(home: Home | None) -> Iterator[Held]:
    """The writing parts of a local stack are down; those that ran run again afterwards, if they may."""
    held = Held()
    if home is None:
        yield held
        return
    states = {part["part"]: part["state"] for part in ask(home, "status")["parts"]}
    stopped: list[str] = []
    try:
        for part in WRITERS:
            if states.get(part) == "ready":
                ask(home, "stop", part)
                stopped.append(part)
        yield held
    finally:
        if held.start_again:
            for part in reversed(stopped):
                ask(home, "start", part)
        elif stopped:
            # With rows and files that do not belong together they would give up runs whose checkpoints they miss.
            commands = "; ".join(f"basin stack start {part}" for part in reversed(stopped))
            typer.echo(f"basin: {', '.join(stopped)} stay stopped. Once it is restored: {commands}", err=True)


def _show(plan: dict[str, Any]) -> None:
    there = f"{plan['runs_there']:,} runs" + (" and the files of runs" if plan["files_there"] else "")
    lines = [
        f"backup     {plan['folder']}, made {plan['made_at']} by Basin {plan['basin_version']}",
        f"in it      {_contents(plan)}; {plan['files']:,} files, {readable_bytes(plan['bytes'])}",
        f"database   {plan['database']}",
        f"storage    {plan['storage']}",
        f"gone then  {there if plan['replaces'] else 'nothing: there are no runs'}",
        *(f"note       {warning}" for warning in plan["warnings"]),
    ]
    typer.echo("\n".join(lines))


def _follow(act: str, arguments: Sequence[str], environment: dict[str, str]) -> dict[str, Any]:
    """The last message of the process, once it has ended; its progress is a bar on standard error."""
    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeElapsedColumn()
    told: dict[str, Any] = {}
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("")
        try:
            for message in messages(MODULE, [act, *arguments], environment):
                if message["event"] != "progress":
                    told = {name: value for name, value in message.items() if name != "event"}
                    continue
                phase = PHASES.get(message["phase"], message["phase"])
                bar.update(task, description=phase, completed=message["done"], total=message["total"])
        except Failure as failure:
            if failure.exit_code is ExitCode.interrupted:
                raise Failure(INTERRUPTED.get(act, "it was interrupted"), ExitCode.interrupted) from None
            raise
        except KeyboardInterrupt:
            raise Failure(INTERRUPTED.get(act, "it was interrupted"), ExitCode.interrupted) from None
    if not told:
        raise no_answer(MODULE)
    return told


def _contents(about: dict[str, Any]) -> str:
    rows = about["rows"]
    return ", ".join(f"{rows[name]:,} {words}" for name, words in SHOWN.items() if name in rows)
