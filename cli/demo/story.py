"""The story: a study of four runs, live progress, the table, what it means, the link; then serving until Ctrl-C.

DEMO_EXIT=1 ends after the table. The exit code is 1 if a run did not succeed.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import psutil
from rich.console import Console

from cli.client import Client
from cli.connection import connect
from cli.demo.meaning import sentences
from cli.demo.own_stack import running_stack
from cli.demo.results import document, reasons, row_of, table
from cli.failure import Failure
from cli.options import print_json
from cli.run_compare import page_of
from cli.spec_file import read_spec
from cli.stack.home import Home, home_from_environment
from cli.stack.ports import LOOPBACK
from cli.views import RunView
from cli.watching import watch

SPECS = Path(__file__).parents[1] / "demo_specs"
METHODS = {"adamw": "AdamW", "sam": "SAM", "looksam": "LookSAM k=5", "look_layersam": "Look-LayerSAM k=5"}
"""Spec file and title."""
WORKERS = 2
"""Of each run; see the specs."""


def demo(*, as_json: bool = False) -> None:
    """Raises Failure if the stack does not start or a run did not succeed. `as_json` ends after the document."""
    console, home = Console(stderr=as_json), home_from_environment()
    clock = Clock()
    with (
        running_stack(home, console, runs=len(METHODS), workers=WORKERS) as started,
        # That stack, whichever API the environment names.
        connect(api_of(home), home.token()) as client,
    ):
        study = f"demo {datetime.now():%Y-%m-%d %H:%M:%S}"
        runs = [submit(client, method, study) for method in METHODS]
        console.print(f"Submitted {len(runs)} runs of {WORKERS} workers each as the study [bold]{study}[/].")
        watch(client, runs, console, on_change=clock.saw)
        ended = [client.run(run.id) for run in runs]
        rows = [row_of(title, run) for title, run in zip(METHODS.values(), ended, strict=True)]
        console.print(table(rows, ended), "")
        failed = reasons(ended)
        for reason in failed:
            console.print(reason, markup=False, soft_wrap=True)
        timing = clock.timing()
        told = sentences(rows)
        for sentence in told:
            console.print(f"{sentence}\n", markup=False, highlight=False)
        console.print(clock.sentence(), highlight=False)
        link = page_of(client.url, ended, study, home.token())
        console.print(f"Compare them: {link}", markup=False, highlight=False, soft_wrap=True)
        if as_json:
            print_json(document(study, link, told, ended, timing))
        elif started is not None and os.environ.get("DEMO_EXIT", "0") in ("", "0"):
            console.print("The stack keeps running; Ctrl-C stops it.")
            with suppress(KeyboardInterrupt):
                started.wait()
        if failed:
            raise Failure(f"{len(failed)} of {len(runs)} runs did not succeed, see above")


def api_of(home: Home) -> str:
    config = home.read_config()
    assert config is not None, "the stack that was waited for has written it"
    return f"http://{LOOPBACK}:{config.ports['api']}"


def submit(client: Client, method: str, study: str) -> RunView:
    return client.submit(read_spec(str(SPECS / f"{method}.yaml")), name=METHODS[method], study=study, project="demo")


class Clock:
    """Seconds from the start of this process to what a person waits for."""

    def __init__(self) -> None:
        self._began = psutil.Process().create_time()
        self._first_point: float | None = None

    def saw(self, run: RunView) -> None:
        """Called with every view that the API served."""
        if self._first_point is None and run.latest:
            self._first_point = self._now()

    def timing(self) -> dict[str, float | None]:
        return {"first_point_seconds": self._first_point, "table_seconds": self._now()}

    def sentence(self) -> str:
        first = "" if self._first_point is None else f"the first metric point came after {self._first_point:.1f} s, "
        return f"Since the command began, {first}the table after {self._now():.1f} s."

    def _now(self) -> float:
        return round(time.time() - self._began, 2)
