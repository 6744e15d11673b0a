"""Options and arguments that several commands share, with what the shell completes for each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from pydantic import BaseModel

from cli import completion
from cli.failure import ExitCode, Failure

Url = Annotated[str | None, typer.Option("--url", help="Address of the API. Default: BASIN_API_URL, then BASIN_HOME.")]
Token = Annotated[
    str | None, typer.Option("--token", help="Default: BASIN_TOKEN, then BASIN_HOME.", show_default=False)
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
RunId = Annotated[
    str,
    typer.Argument(metavar="ID", help="The run's id, as `basin run list` shows it.", autocompletion=completion.run_ids),
]
RunIds = Annotated[list[str], typer.Argument(metavar="ID...", help="Ids of runs.", autocompletion=completion.run_ids)]
OptionalRunIds = Annotated[
    list[str] | None, typer.Argument(metavar="[ID...]", help="Ids of runs.", autocompletion=completion.run_ids)
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="PATH=VALUE",
        help="Change a field, e.g. --set method.k=10; may be repeated.",
        autocompletion=completion.spec_paths,
    ),
]
Study = Annotated[
    str | None,
    typer.Option(help="Name of the study: runs that belong together.", autocompletion=completion.studies),
]
Statuses = Annotated[
    list[str] | None,
    typer.Option("--status", help="Only runs in this status; may be repeated.", autocompletion=completion.statuses),
]
Priority = Annotated[
    int | None, typer.Option(min=-1000, max=1000, help="Higher starts first, -1000 to 1000. Default: 0.")
]


def print_json(answer: BaseModel | dict[str, Any], indent: int | None = 2) -> None:
    """The API's document as it is, or a document made of such."""
    document: Any = answer.model_dump(mode="json") if isinstance(answer, BaseModel) else answer
    typer.echo(json.dumps(document, indent=indent))


def known_statuses(statuses: Sequence[str] | None, allowed: Sequence[str]) -> list[str]:
    """Raises Failure (exit code 2) for a word that is no status."""
    for wanted in statuses or []:
        if wanted not in allowed:
            raise Failure(f"--status {wanted!r} must be one of {', '.join(allowed)}", ExitCode.refused)
    return list(statuses or [])
