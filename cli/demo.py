"""`make demo`: three runs that differ in their method only, side by side, from an empty folder to a table.

Starts the stack if none runs on BASIN_HOME. With DEMO_EXIT=1 it ends after the table, with exit code 1 if a run failed;
otherwise it keeps serving the dashboard until Ctrl-C.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
from rich import box
from rich.console import Console
from rich.table import Table

from cli.client import Client, RunView
from cli.connection import connect
from cli.failure import ExitCode, Failure
from cli.rendering import number, span, status_text
from cli.spec_file import read_spec
from cli.stack.control import ask
from cli.stack.home import Home, home_from_environment
from cli.stack.processes import dies_with_parent
from cli.stack.up import available_cpus
from cli.watching import watch

SPECS = Path(__file__).with_name("demo_specs")
METHODS = {"adamw": "AdamW", "sam": "SAM", "looksam": "LookSAM k=5"}
WORKERS = 2
"""Of each run; see the specs."""
GIB_PER_WORKER = 1.0
START_SECONDS = 600.0
STOP_SECONDS = 60.0


def demo() -> None:
    """Raises Failure if the stack does not start or a run did not succeed."""
    console, home = Console(), home_from_environment()
    with running_stack(home, console) as started, connect() as client:
        runs = [submit(client, method) for method in METHODS]
        console.print(f"Submitted {len(runs)} runs of {WORKERS} workers each: " + ", ".join(run.id for run in runs))
        ended = watch(client, runs, console)
        console.print(results(ended))
        console.print(f"Dashboard: {client.url}/#token={home.token()}", soft_wrap=True)
        failed = [run for run in ended if run.status != "succeeded"]
        if failed:
            raise Failure(
                "; ".join(f"{run.name} {run.status}: {run.sentence or ''} {run.detail or ''}" for run in failed)
            )
        if started is not None and not os.environ.get("DEMO_EXIT"):
            console.print("The stack keeps running; Ctrl-C stops it.")
            with suppress(KeyboardInterrupt):
                started.wait()


def submit(client: Client, method: str) -> RunView:
    return client.submit(read_spec(str(SPECS / f"{method}.yaml")), name=f"demo {METHODS[method]}", project="demo")


@contextmanager
def running_stack(home: Home, console: Console) -> Iterator[subprocess.Popen[bytes] | None]:
    """The stack that runs already (None), or one of our own, which ends with us."""
    if status(home) is not None:
        console.print(f"Using the stack that runs on {home.folder}.")
        wait_until_up(home, None, console)
        yield None
        return
    slots = affordable_slots()
    at_once = slots // WORKERS
    if at_once < len(METHODS):
        console.print(f"This machine affords {slots} slots, so {at_once} of the {len(METHODS)} runs train at a time.")
    home.make()
    log = home.logs / "stack.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "cli", "up", f"--slots={slots}"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches us, and we stop it.
            preexec_fn=dies_with_parent(signal.SIGTERM),
        )
    try:
        wait_until_up(home, process, console)
        yield process
    finally:
        console.print("Stopping the stack.")
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()


def affordable_slots() -> int:
    """Logical CPUs for the demo: all three runs at once where cores and memory allow it, else fewer; at least one."""
    memory = int(psutil.virtual_memory().available / 2**30 / GIB_PER_WORKER)
    runs_at_once = min(len(METHODS), available_cpus() // WORKERS, memory // WORKERS)
    return max(1, runs_at_once) * WORKERS


def status(home: Home) -> dict[str, Any] | None:
    try:
        return ask(home, "status")
    except Failure:
        return None


def wait_until_up(home: Home, process: subprocess.Popen[bytes] | None, console: Console) -> None:
    """Shows which parts are still starting. Raises Failure with the stack's own sentence if it ended."""
    began = time.monotonic()
    with console.status("Starting the stack") as shown:
        while time.monotonic() - began < START_SECONDS:
            seen = status(home)
            if seen is not None and seen["up"]:
                console.print(f"The stack is up ({time.monotonic() - began:.1f} s).")
                return
            if process is not None and process.poll() is not None:
                raise Failure(last_line(home.logs / "stack.log"))
            waiting = [
                part["part"] for part in (seen or {"parts": []})["parts"] if part["state"] not in ("ready", "done")
            ]
            shown.update(f"Starting the stack: {', '.join(waiting)}" if waiting else "Starting the stack")
            time.sleep(0.2)
    raise Failure(f"the stack was not up after {START_SECONDS:g} s: see {home.logs}")


def last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1].removeprefix("basin: ") if lines else f"the stack ended: see {log}"


def results(runs: list[RunView]) -> Table:
    title = "Same weights, same data order, same seed; only the method differs"
    table = Table(title=title, title_style="", box=box.SIMPLE, padding=0, pad_edge=False)
    for heading in ("method", "status"):
        table.add_column(heading, no_wrap=True)
    for heading in ("val. top-1 %", "val. loss", "train loss", "grad. evals", "seconds"):
        table.add_column(heading, justify="right", no_wrap=True)
    for run, method in zip(runs, METHODS.values(), strict=True):
        evaluations = run.value("gradient_evaluations")
        table.add_row(
            method,
            status_text(run),
            number(run.value("validation_top1"), 2),
            number(run.value("validation_loss"), 4),
            number(run.value("train_loss"), 4),
            number(evaluations, 0),
            number(run.value("seconds"), 1) or _lasted(run),
        )
    return table


def _lasted(run: RunView) -> str:
    if run.started_at is None or run.ended_at is None:
        return ""
    return span((run.ended_at - run.started_at).total_seconds())


if __name__ == "__main__":
    try:
        demo()
    except Failure as failure:
        sys.stderr.write(f"basin: {failure.sentence}\n")
        sys.exit(failure.exit_code)
    except KeyboardInterrupt:
        sys.exit(ExitCode.interrupted)
