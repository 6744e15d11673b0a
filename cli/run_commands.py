"""`basin run submit|list|show|watch|cancel`."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from pydantic import BaseModel
from rich.console import Console

from cli.client import Client, RunView
from cli.connection import connect
from cli.failure import ExitCode, Failure
from cli.rendering import run_page, run_table
from cli.spec_file import read_spec
from cli.watching import changes, watch

run_app = typer.Typer(no_args_is_help=True, help="Submit, list, show, watch and cancel runs.")

Url = Annotated[str | None, typer.Option("--url", help="Address of the API. Default: BASIN_API_URL, then BASIN_HOME.")]
Token = Annotated[
    str | None, typer.Option("--token", help="Default: BASIN_TOKEN, then BASIN_HOME.", show_default=False)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
RunId = Annotated[str, typer.Argument(metavar="ID", help="The run's id, as `basin run list` shows it.")]
STATUSES = (
    "queued", "launching", "running", "pausing", "paused", "cancelling", "succeeded", "failed", "cancelled",
)  # fmt: skip


@run_app.command("submit")
def submit(
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="Training spec in YAML or JSON; - is standard input.")],
    name: Annotated[str | None, typer.Option(help="What to call the run. Default: made of method and model.")] = None,
    project: Annotated[str | None, typer.Option(help="Project the run belongs to.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Change a field, e.g. --set method.k=10.")
    ] = None,
    watch_it: Annotated[bool, typer.Option("--watch", help="Follow the run to its end.")] = False,
    idempotency_key: Annotated[
        str | None, typer.Option(help="The same key again gives the same run. Default: a random one.")
    ] = None,
    as_json: AsJson = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Queue a training run."""
    spec = read_spec(file, settings or [])
    with connect(url, token) as client:
        run = client.submit(spec, name=name, project=project, idempotency_key=idempotency_key)
        if watch_it:
            _watch(client, run, as_json)
        elif as_json:
            _print_json(run)
        else:
            typer.echo(f"{run.id} {run.status}: {run.name}\n{page_of(client, run)}")


@run_app.command("list")
def list_runs(
    status: Annotated[list[str] | None, typer.Option(help="Only runs in this status; may be repeated.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many, newest first.")] = 20,
    as_json: AsJson = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """List runs, newest first."""
    for wanted in status or []:
        if wanted not in STATUSES:
            raise Failure(f"--status {wanted!r} must be one of {', '.join(STATUSES)}", ExitCode.refused)
    with connect(url, token) as client:
        page = client.runs(statuses=status or [], limit=limit)
    if as_json:
        _print_json(page)
    elif page.items:
        Console().print(run_table(page.items))
    else:
        typer.echo("no runs")


@run_app.command("show")
def show(run_id: RunId, as_json: AsJson = False, url: Url = None, token: Token = None) -> None:
    """Show one run."""
    with connect(url, token) as client:
        run = client.run(run_id)
        if as_json:
            _print_json(run)
        else:
            Console().print(run_page(run, page_of(client, run)))


@run_app.command("watch")
def watch_run(run_id: RunId, as_json: AsJson = False, url: Url = None, token: Token = None) -> None:
    """Follow a run to its end; exits 0 if it succeeded, else 1. With --json one line per change."""
    with connect(url, token) as client:
        _watch(client, client.run(run_id), as_json)


@run_app.command("cancel")
def cancel(run_id: RunId, as_json: AsJson = False, url: Url = None, token: Token = None) -> None:
    """Cancel a run: a queued one at once, a running one after it has saved a checkpoint."""
    with connect(url, token) as client:
        run = client.cancel(run_id)
    if as_json:
        _print_json(run)
    else:
        typer.echo(f"{run.id} {run.status}")


def _watch(client: Client, run: RunView, as_json: bool) -> None:
    if as_json:
        _print_json(run, indent=None)
        for newer in changes(client, [run.id] if not run.is_over else []):
            _print_json(newer, indent=None)
            run = newer
    else:
        [run] = watch(client, [run], Console())
    if run.status != "succeeded":
        raise typer.Exit(ExitCode.failed)


def _print_json(answer: BaseModel, indent: int | None = 2) -> None:
    document: Any = answer.model_dump(mode="json")
    typer.echo(json.dumps(document, indent=indent))


def page_of(client: Client, run: RunView) -> str:
    """The run's page on the dashboard."""
    return f"{client.url}/runs/{run.id}"
