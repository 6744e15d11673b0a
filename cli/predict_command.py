"""`basin predict MODEL IMAGE|FOLDER`: what a trained model says of images; the work is `trainer/predict.py`'s."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from cli.connection import connect
from cli.failure import ExitCode
from cli.options import AsJson, Token, Url, print_json
from cli.part_process import messages
from cli.run_export import newest_checkpoint


def predict(
    model: Annotated[
        str, typer.Argument(metavar="FOLDER|ID", help="A folder of `basin run export`, a checkpoint, or a run's id.")
    ],
    images: Annotated[str, typer.Argument(metavar="IMAGE|FOLDER", help="An image, or a folder of images.")],
    top: Annotated[int, typer.Option(min=1, max=1000, help="How many classes to name, most probable first.")] = 5,
    as_json: AsJson = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Classify images. With --json one line an image; exits 1 if one could not be read."""
    folder = model if os.path.isdir(model) else _checkpoint_of(model, url, token)
    arguments = ["--model", folder, "--top", str(top), "--", images]
    table = Table("image", "class", "probability", box=None, pad_edge=False)
    unreadable = 0
    for message in _with_a_bar(arguments):
        unreadable += message["event"] == "unreadable"
        if as_json:
            print_json({name: value for name, value in message.items() if name != "event"}, indent=None)
        elif message["event"] == "unreadable":
            typer.echo(f"basin: {message['path']} {message['why']}", err=True)
        else:
            _add_rows(table, message)
    if table.row_count:
        Console().print(table, highlight=False)
    if unreadable:
        raise typer.Exit(ExitCode.failed)


def _checkpoint_of(run_id: str, url: str | None, token: str | None) -> str:
    with connect(url, token) as client:
        return str(newest_checkpoint(client, client.run(run_id)))


def _add_rows(table: Table, message: dict[str, Any]) -> None:
    for place, each in enumerate(message["classes"]):
        # rich would take what stands in brackets for its markup
        name, path = (text.replace("[", r"\[") for text in (each["name"], message["path"]))
        table.add_row(path if place == 0 else "", name, f"{each['probability']:.1%}")


def _with_a_bar(arguments: list[str]) -> Iterator[dict[str, Any]]:
    """The messages about images; those about progress move a bar on standard error."""
    with _bar() as bar:
        task = bar.add_task("images", total=None)
        for message in messages("trainer.predict", arguments):
            if message["event"] == "progress":
                bar.update(task, completed=message["done"], total=message["total"])
            else:
                yield message


@contextmanager
def _bar() -> Iterator[Progress]:
    console = Console(stderr=True)
    columns = TextColumn("images"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        yield bar
