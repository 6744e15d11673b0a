"""`basin data check PATH`: looks at an image folder before anyone queues a run on it.

The work is done by the trainer's own reading of images, in a process of its own (`trainer/data_check.py`).
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cli.data_page import data_page
from cli.failure import ExitCode, Failure
from cli.options import AsJson, print_json

data_app = typer.Typer(no_args_is_help=True, help="Look at data before a run is trained on it.")


@data_app.callback()
def _data() -> None:
    """Look at data before a run is trained on it."""


@data_app.command("check")
def check(
    path: Annotated[
        str,
        typer.Argument(
            metavar="PATH", help="Folder with one folder per class; or one with train/ and validation/ (or val/)."
        ),
    ],
    validation: Annotated[
        str | None, typer.Option(metavar="PATH", help="Folder of validation images with the same classes.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, max=1024, help="Processes that decode. Default: one per processor.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Decode every image; say classes, counts, sizes, damage and copies. Exits 1 if a run on it would fail."""
    command = [sys.executable, "-m", "trainer.data_check", *(["--workers", str(workers)] if workers else [])]
    command += ["--validation", validation] if validation is not None else []
    report, code = _follow([*command, "--", path])
    if report is None:
        raise typer.Exit(code)
    if as_json:
        print_json(report)
    else:
        Console().print(data_page(report), highlight=False, soft_wrap=True)
    raise typer.Exit(code)


def _follow(command: list[str]) -> tuple[dict[str, Any] | None, int]:
    """What the check found, and its exit code. Ctrl-C asks it for what it has so far; a second one ends it at once."""
    # A session of its own: Ctrl-C reaches this process, which passes it on once.
    checking = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    reader = _Reader(checking)
    try:
        try:
            return reader.read()
        except KeyboardInterrupt:
            checking.send_signal(signal.SIGINT)
            return reader.read()
    finally:
        if checking.poll() is None:
            checking.kill()
        checking.wait()


class _Reader:
    """Reads the lines of the check; may be interrupted and go on."""

    def __init__(self, checking: subprocess.Popen[str]) -> None:
        self._checking = checking

    def read(self) -> tuple[dict[str, Any] | None, int]:
        report: dict[str, Any] | None = None
        columns = TextColumn("images"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        assert self._checking.stdout is not None
        console = Console(stderr=True)
        with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
            task = bar.add_task("images", total=None)
            for line in self._checking.stdout:
                message = json.loads(line)
                if message["event"] == "progress":
                    bar.update(task, completed=message["done"], total=message["total"])
                elif message["event"] == "refused":
                    raise Failure(message["sentence"], ExitCode.refused)
                else:
                    report = {name: value for name, value in message.items() if name != "event"}
        code = self._checking.wait()
        if report is None and code not in (ExitCode.interrupted, -signal.SIGINT):
            raise Failure("the check ended without an answer; the lines above say why")
        return report, ExitCode.interrupted if code < 0 else code
