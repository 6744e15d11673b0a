"""`basin up` and `basin stack ...`."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from cli import completion
from cli.options import AsJson
from cli.stack.control import ask
from cli.stack.home import home_from_environment

stack_app = typer.Typer(no_args_is_help=True, help="Look at the running stack and stop or start single parts.")

PartName = Annotated[
    str,
    typer.Argument(metavar="PART", help="postgres, valkey, ray, api, celery or beat", autocompletion=completion.parts),
]


def up_command(
    slots: Annotated[
        int | None,
        typer.Option(min=1, max=4096, help="Logical CPUs of Ray; a worker takes one. Default: the machine's."),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(min=1024, max=65535, help="Port of API and dashboard, kept. Default: a free one."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="When ready, print one JSON line; the parts' lines go to standard error.")
    ] = False,
) -> None:
    """Run the local stack until Ctrl-C: PostgreSQL, Valkey, Ray, Celery, API and dashboard.

    Its state lies in one folder, BASIN_HOME (default .basin/); a restart goes on where it was.
    """
    # Imported here: these need a fifth of a second, which everybody who presses Tab would wait for.
    from cli.stack.up import up

    up(home_from_environment(), slots=slots, port=port, as_json=as_json)


def demo_command(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as JSON and end; the story goes to standard error.")
    ] = False,
) -> None:
    """Train four methods side by side, show a table and what it means, and serve the dashboard until Ctrl-C.

    DEMO_EXIT=1 ends after the table.
    """
    from cli.demo.story import demo

    demo(as_json=as_json)


@stack_app.command("status")
def status(as_json: AsJson = False) -> None:
    """Show the parts of the stack that runs on BASIN_HOME."""
    reply = ask(home_from_environment(), "status")
    if as_json:
        typer.echo(json.dumps(reply))
        return
    table = Table("part", "state", "pid", "restarts", box=None)
    for part in reply["parts"]:
        table.add_row(part["part"], part["state"], str(part["pid"] or ""), str(part["restarts"]))
    Console().print(table)


@stack_app.command("stop")
def stop(part: PartName, as_json: AsJson = False) -> None:
    """Stop one part and hold it down until `basin stack start`."""
    _tell(ask(home_from_environment(), "stop", part), as_json)


@stack_app.command("start")
def start(part: PartName, as_json: AsJson = False) -> None:
    """Start a part that is held down, and wait until it is ready."""
    _tell(ask(home_from_environment(), "start", part), as_json)


@stack_app.command("restart")
def restart(part: PartName, as_json: AsJson = False) -> None:
    """Stop one part, start it again, and wait until it is ready."""
    _tell(ask(home_from_environment(), "restart", part), as_json)


def _tell(seen: dict[str, Any], as_json: bool) -> None:
    typer.echo(json.dumps(seen) if as_json else f"{seen['part']}: {seen['state']}")
