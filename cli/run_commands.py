"""`basin run submit|list|show|watch`; the rest of `basin run` stands in files of its own, see `cli/main.py`."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console

from cli.client import Client
from cli.connection import connect
from cli.failure import ExitCode
from cli.options import (
    AsJson,
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
from cli.rendering import run_page, run_table
from cli.spec_file import read_spec
from cli.views import STATUSES, RunView
from cli.watching import changes, watch

Watch = Annotated[bool, typer.Option("--watch", help="Follow the run to its end.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Ask the API what it would become; nothing is queued.")]
Name = Annotated[str | None, typer.Option(help="What to call the run. Default: made of method and model.")]
IdempotencyKey = Annotated[
    str | None, typer.Option(help="The same key again gives the same run. Default: a random one.")
]


def submit(
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="Training spec in YAML or JSON; - is standard input.")],
    name: Name = None,
    study: Study = None,
    priority: Priority = None,
    project: Annotated[str | None, typer.Option(help="Project the run belongs to.")] = None,
    settings: Settings = None,
    watch_it: Watch = False,
    dry_run: DryRun = False,
    idempotency_key: IdempotencyKey = None,
    as_json: AsJson = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Queue a training run."""
    spec = read_spec(file, settings or [])
    about = {"name": name, "study": study, "priority": priority, "project": project}
    with connect(url, token) as client:
        send(client, spec, about, watch_it=watch_it, dry_run=dry_run, key=idempotency_key, as_json=as_json)


def send(
    client: Client,
    spec: dict[str, Any],
    about: dict[str, Any],
    *,
    watch_it: bool,
    dry_run: bool,
    key: str | None,
    as_json: bool,
) -> None:
    """Submits the spec, or asks what would become of it, and says so."""
    if dry_run:
        told = client.dry_run(spec, **about)
        print_json(told) if as_json else typer.echo(told.summary)
        return
    run = client.submit(spec, idempotency_key=key, **about)
    if watch_it:
        follow_to_its_end(client, run, as_json)
    elif as_json:
        print_json(run)
    else:
        typer.echo(f"{run.id} {run.status}: {run.name}\n{page_of(client, run)}")


def list_runs(
    status: Statuses = None,
    study: Study = None,
    query: Annotated[str | None, typer.Option(help="Only runs with this in their name or id.")] = None,
    archived: Annotated[bool, typer.Option("--archived", help="Runs that were archived.")] = False,
    deleted: Annotated[bool, typer.Option("--deleted", help="Runs that were deleted and can be restored.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many, newest first.")] = 20,
    as_json: AsJson = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """List runs, newest first."""
    statuses = known_statuses(status, STATUSES)
    kept = "deleted" if deleted else "archived" if archived else None
    with connect(url, token) as client:
        page = client.runs(statuses=statuses, study=study, query=query, kept=kept, limit=limit)
    if as_json:
        print_json(page)
    elif page.items:
        console = Console()
        console.print(run_table(page.items, console.width))
    else:
        typer.echo("no runs")


def show(run_id: RunId, as_json: AsJson = False, url: Url = None, token: Token = None) -> None:
    """Show one run."""
    with connect(url, token) as client:
        run = client.run(run_id)
        if as_json:
            print_json(run)
        else:
            Console().print(run_page(run, page_of(client, run)))


def watch_run(run_id: RunId, as_json: AsJson = False, url: Url = None, token: Token = None) -> None:
    """Follow a run to its end; exits 0 if it succeeded, else 1. With --json one line per change."""
    with connect(url, token) as client:
        follow_to_its_end(client, client.run(run_id), as_json)


def follow_to_its_end(client: Client, run: RunView, as_json: bool) -> None:
    """Shows the run's progress; exit code 1 unless it succeeds."""
    if as_json:
        print_json(run, indent=None)
        for newer in changes(client, [run.id] if not run.is_over else []):
            print_json(newer, indent=None)
            run = newer
    else:
        [run] = watch(client, [run], Console())
    if run.status != "succeeded":
        raise typer.Exit(ExitCode.failed)


def page_of(client: Client, run: RunView) -> str:
    """The run's page on the dashboard."""
    return f"{client.url}/runs/{run.id}"
