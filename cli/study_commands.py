"""`basin study list`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cli.connection import connect
from cli.options import AsJson, Token, Url, print_json
from cli.rendering import span

study_app = typer.Typer(no_args_is_help=True, help="Studies: runs that were submitted under one name.")


@study_app.callback()
def _studies() -> None:
    """Studies: runs that were submitted under one name."""


@study_app.command("list")
def list_studies(
    query: Annotated[str | None, typer.Option(help="Only studies with this in their name.")] = None,
    as_json: AsJson = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """List studies, newest first."""
    with connect(url, token) as client:
        page = client.studies(query)
    if as_json:
        print_json(page)
        return
    if not page.items:
        typer.echo("no studies: name one with `basin run submit --study NAME`")
        return
    table = Table("study", "runs", "live", "succeeded", "failed", "newest", box=None, pad_edge=False)
    for study in page.items:
        age = span((datetime.now(UTC) - study.newest_at).total_seconds()) + " ago" if study.newest_at else ""
        counts = (study.runs, study.live, study.succeeded, study.failed)
        table.add_row(Text(study.name), *(str(count) for count in counts), age)
    Console().print(table)
