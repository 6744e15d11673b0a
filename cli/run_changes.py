"""`basin run clone|edit`: an edited copy, and other values of a run."""

from __future__ import annotations

import copy
from typing import Annotated, Any

import typer

from cli.connection import connect
from cli.failure import ExitCode, Failure
from cli.options import AsJson, Priority, RunId, Settings, Study, Token, Url, print_json
from cli.run_commands import DryRun, IdempotencyKey, Watch, send
from cli.spec_file import apply, check
from cli.views import RunView

MAX_NAME = 128


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
