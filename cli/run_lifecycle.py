"""`basin run pause|resume|cancel|archive|unarchive|delete|restore`: one run by its id, or many by a selection."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from cli.client import Client
from cli.connection import connect
from cli.failure import ExitCode, Failure
from cli.options import AsJson, OptionalRunIds, Statuses, Study, Token, Url, known_statuses, print_json
from cli.views import STATUSES, TERMINAL, Refused

LIVE = tuple(status for status in STATUSES if status not in TERMINAL)
OVER = tuple(status for status in STATUSES if status in TERMINAL)
PAUSABLE = ("queued", "launching", "running")
RESUMABLE = ("paused", "pausing")
DONE = {
    "pause": "paused or pausing", "resume": "resumed", "archive": "archived", "unarchive": "taken out of the archive",
    "delete": "deleted", "restore": "restored",
}  # fmt: skip

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before changing a selection of runs.")]
Now = Annotated[bool, typer.Option("--now", help="Stop at once, without time to save a checkpoint.")]


def cancel(
    run_ids: OptionalRunIds = None,
    study: Study = None,
    status: Statuses = None,
    now: Now = False,
    yes: Yes = False,
    as_json: AsJson = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Cancel runs: a queued one at once, a running one after it has saved a checkpoint.

    Either by id, or all that --study and --status select, after a question. Cancelling one run a second time stops it
    at once, as --now does. Exits 1 if one was refused.
    """
    with connect(url, token) as client:
        ids = _chosen(client, "cancel", run_ids, study, status, LIVE, yes=yes)
        if run_ids and len(ids) == 1:
            run = client.cancel(ids[0], now=now)
            print_json(run) if as_json else typer.echo(f"{run.id} {run.status}")
            return
        done = client.cancel_many(ids, now=now)
    parts = [f"{len(done.cancelled)} cancelled"]
    parts += [f"{len(done.already_over)} over or ending before"] if done.already_over else []
    _tell(done, parts if ids else ["no run fits"], done.refused, as_json=as_json)


def pause(
    run_ids: OptionalRunIds = None, study: Study = None, status: Statuses = None, yes: Yes = False,
    as_json: AsJson = False, url: Url = None, token: Token = None,
) -> None:  # fmt: skip
    """Pause runs: a running one saves a checkpoint and gives its slots back; `resume` goes on from there.

    Either by id, or all that --study and --status select, after a question. Exits 1 if one was refused.
    """
    with connect(url, token) as client:
        _change(client, "pause", _chosen(client, "pause", run_ids, study, status, PAUSABLE, yes=yes), as_json)


def resume(
    run_ids: OptionalRunIds = None, study: Study = None, status: Statuses = None, yes: Yes = False,
    as_json: AsJson = False, url: Url = None, token: Token = None,
) -> None:  # fmt: skip
    """Queue paused runs again; they go on from their last checkpoint.

    Either by id, or all that --study and --status select, after a question. Exits 1 if one was refused.
    """
    with connect(url, token) as client:
        _change(client, "resume", _chosen(client, "resume", run_ids, study, status, RESUMABLE, yes=yes), as_json)


def archive(
    run_ids: OptionalRunIds = None, study: Study = None, status: Statuses = None, yes: Yes = False,
    as_json: AsJson = False, url: Url = None, token: Token = None,
) -> None:  # fmt: skip
    """Leave runs that are over out of lists; `list --archived` shows them.

    Either by id, or all that --study and --status select, after a question. Exits 1 if one was refused.
    """
    with connect(url, token) as client:
        _change(client, "archive", _chosen(client, "archive", run_ids, study, status, OVER, yes=yes), as_json)


def unarchive(
    run_ids: OptionalRunIds = None, study: Study = None, status: Statuses = None, yes: Yes = False,
    as_json: AsJson = False, url: Url = None, token: Token = None,
) -> None:  # fmt: skip
    """Bring archived runs back to the lists, by id or by --study and --status."""
    with connect(url, token) as client:
        ids = _chosen(client, "unarchive", run_ids, study, status, OVER, yes=yes, kept="archived")
        _change(client, "unarchive", ids, as_json)


def delete(
    run_ids: OptionalRunIds = None, study: Study = None, status: Statuses = None, yes: Yes = False,
    as_json: AsJson = False, url: Url = None, token: Token = None,
) -> None:  # fmt: skip
    """Delete runs that are over, with their metrics, checkpoints and logs; `restore` undoes it for a day.

    Either by id, or all that --study and --status select, after a question. Exits 1 if one was refused.
    """
    with connect(url, token) as client:
        _change(client, "delete", _chosen(client, "delete", run_ids, study, status, OVER, yes=yes), as_json)


def restore(
    run_ids: OptionalRunIds = None, study: Study = None, status: Statuses = None, yes: Yes = False,
    as_json: AsJson = False, url: Url = None, token: Token = None,
) -> None:  # fmt: skip
    """Bring deleted runs back, by id or by --study and --status; `list --deleted` shows those there are."""
    with connect(url, token) as client:
        ids = _chosen(client, "restore", run_ids, study, status, OVER, yes=yes, kept="deleted")
        _change(client, "restore", ids, as_json)


def _chosen(
    client: Client, act: str, run_ids: list[str] | None, study: str | None, status: list[str] | None,
    allowed: tuple[str, ...], *, yes: bool, kept: str | None = None,
) -> list[str]:  # fmt: skip
    """The ids given, or those of the runs selected, once the person has agreed."""
    statuses = known_statuses(status, allowed)
    if bool(run_ids) == (study is not None or bool(statuses)):
        raise Failure("give either ids of runs, or --study and --status to select them", ExitCode.refused)
    if run_ids:
        return list(dict.fromkeys(run_ids))
    runs = list(client.all_runs(statuses=statuses or allowed, study=study, kept=kept))
    if runs and not yes:
        if not sys.stdin.isatty():
            raise Failure(f"this would {act} {len(runs)} runs: say --yes where nobody can be asked", ExitCode.refused)
        names = ", ".join(run.name for run in runs[:5]) + (", ..." if len(runs) > 5 else "")
        if not typer.confirm(f"{act.capitalize()} {len(runs)} runs ({names})?", err=True):
            raise typer.Exit(ExitCode.failed)
    return [run.id for run in runs]


def _change(client: Client, act: str, ids: list[str], as_json: bool) -> None:
    done = client.change_many(act, ids)
    parts = [f"{len(done.changed)} {DONE[act]}"]
    parts += [f"{len(done.unchanged)} unchanged"] if done.unchanged else []
    _tell(done, parts if ids else ["no run fits"], done.refused, as_json=as_json)


def _tell(done: Any, parts: list[str], refused: list[Refused], *, as_json: bool) -> None:
    if as_json:
        print_json(done)
    else:
        typer.echo(", ".join(parts))
        for each in refused:
            typer.echo(f"{each.run_id} refused: {each.detail}", err=True)
    if refused:
        raise typer.Exit(ExitCode.failed)
