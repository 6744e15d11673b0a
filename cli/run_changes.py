"""`basin run clone|edit|cancel`: an edited copy, other values of a queued run, one end or many."""

from __future__ import annotations

import copy
import sys
from typing import Annotated, Any

import typer

from cli.client import Client
from cli.connection import connect
from cli.failure import ExitCode, Failure
from cli.options import (
    AsJson,
    OptionalRunIds,
    Priority,
    RunId,
    Settings,
    Statuses,
    Study,
    Token,
    Url,
    known_statuses,
    print_json,
)
from cli.run_commands import DryRun, IdempotencyKey, Watch, send
from cli.spec_file import apply, check
from cli.views import STATUSES, TERMINAL, RunView

MAX_NAME = 128
LIVE = tuple(status for status in STATUSES if status not in TERMINAL)


def clone(
    run_id: RunId,
    settings: Settings = None,
    name: Annotated[str | None, typer.Option(help="Default: the old name with what was changed.")] = None,
    study: Study = None,
    priority: Priority = None,
    watch_it: Watch = False,
    dry_run: DryRun = False,
    idempotency_key: IdempotencyKey = None,
    as_json: AsJson = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Queue a copy of a run, with changes. Study, priority and project stay, unless given; --study "" leaves it."""
    with connect(url, token) as client:
        original = client.run(run_id)
        spec, about = copy_of(original, settings or [])
        given = {"name": name, "study": study, "priority": priority}
        about |= {key: value for key, value in given.items() if value is not None}
        about["study"] = about["study"] or None
        send(client, spec, about, watch_it=watch_it, dry_run=dry_run, key=idempotency_key, as_json=as_json)


def copy_of(original: RunView, settings: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The spec as it was sent with `settings` applied, and the rest of a submission. Raises Failure for a bad spec."""
    spec: dict[str, Any] = copy.deepcopy(original.request.get("spec") or original.spec)
    for setting in settings:
        apply(spec, setting)
    check(spec)
    return spec, {
        "name": ", ".join([original.name, *settings])[:MAX_NAME].strip(),
        "study": original.study,
        "priority": original.priority,
        "project": original.project,
        "visibility": original.visibility,
        "copied_from": original.id,
    }


def edit(
    run_id: RunId,
    priority: Priority = None,
    name: Annotated[str | None, typer.Option(help="The run's new name.")] = None,
    study: Study = None,
    as_json: AsJson = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Change a run's priority (while it is queued), name or study; --study "" takes it out of its study."""
    changes: dict[str, Any] = {"priority": priority, "name": name}
    changes = {key: value for key, value in changes.items() if value is not None}
    if study is not None:
        changes["study"] = study or None
    if not changes:
        raise Failure("nothing to change: give --priority, --name or --study", ExitCode.refused)
    with connect(url, token) as client:
        run = client.edit(run_id, changes)
    if as_json:
        print_json(run)
        return
    place = f", place {run.position}" if run.position is not None else ""
    in_study = f", study {run.study}" if run.study else ""
    typer.echo(f"{run.id} {run.status}: {run.name}, priority {run.priority}{place}{in_study}")


def cancel(
    run_ids: OptionalRunIds = None,
    study: Study = None,
    status: Statuses = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before ending a selection of runs.")] = False,
    as_json: AsJson = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Cancel runs: a queued one at once, a running one after it has saved a checkpoint.

    Either by id, or all that --study and --status select, after a question. Exits 1 if one was refused.
    """
    statuses = known_statuses(status, LIVE)
    selects = study is not None or bool(statuses)
    if bool(run_ids) == selects:
        raise Failure("give either ids of runs, or --study and --status to select them", ExitCode.refused)
    with connect(url, token) as client:
        if run_ids and len(run_ids) == 1:
            run = client.cancel(run_ids[0])
            print_json(run) if as_json else typer.echo(f"{run.id} {run.status}")
            return
        ids = list(dict.fromkeys(run_ids or _selected(client, study, statuses, yes=yes)))
        _cancel_many(client, ids, as_json)


def _selected(client: Client, study: str | None, statuses: list[str], *, yes: bool) -> list[str]:
    """Ids of the live runs selected, once the person has agreed."""
    runs = list(client.all_runs(statuses=statuses or LIVE, study=study))
    if runs and not yes:
        if not sys.stdin.isatty():
            raise Failure(f"this would cancel {len(runs)} runs: say --yes where nobody can be asked", ExitCode.refused)
        names = ", ".join(run.name for run in runs[:5]) + (", ..." if len(runs) > 5 else "")
        if not typer.confirm(f"Cancel {len(runs)} runs ({names})?", err=True):
            raise typer.Exit(ExitCode.failed)
    return [run.id for run in runs]


def _cancel_many(client: Client, ids: list[str], as_json: bool) -> None:
    done = client.cancel_many(ids)
    if as_json:
        print_json(done)
    else:
        parts = [f"{len(done.cancelled)} cancelled"]
        parts += [f"{len(done.already_over)} over or ending before"] if done.already_over else []
        typer.echo(", ".join(parts) if ids else "no run fits")
        for refused in done.refused:
            typer.echo(f"{refused.run_id} refused: {refused.detail}", err=True)
    if done.refused:
        raise typer.Exit(ExitCode.failed)
