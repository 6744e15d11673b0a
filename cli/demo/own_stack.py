"""The stack under the demo: the one that runs on BASIN_HOME already, or one of its own that ends with it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console

from cli.failure import Failure
from cli.stack.control import ask
from cli.stack.home import Home
from cli.stack.processes import dies_with_parent

GIB_PER_WORKER = 1.0
START_SECONDS = 600.0
STOP_SECONDS = 60.0


@contextmanager
def running_stack(home: Home, console: Console, *, runs: int, workers: int) -> Iterator[subprocess.Popen[bytes] | None]:
    """Room for `runs` runs of `workers` workers each, or for fewer where memory is short, which is said.

    Yields None for a stack that ran before. Raises Failure if the stack does not start.
    """
    if status(home) is not None:
        console.print(f"Using the stack that runs on {home.folder}.")
        wait_until_up(home, None, console)
        yield None
        return
    gib = psutil.virtual_memory().available / 2**30
    at_once = runs_at_once(gib, runs=runs, workers=workers)
    if at_once < runs:
        console.print(
            f"{gib:.1f} GiB of memory are free and a worker takes about {GIB_PER_WORKER:g} GiB, so {at_once} of the "
            f"{runs} runs train{'s' if at_once == 1 else ''} at a time."
        )
    process = _start(home, slots=at_once * workers)
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


def runs_at_once(free_gib: float, *, runs: int, workers: int) -> int:
    """All runs where memory allows it, else two, else one. Cores decide nothing: a slot is not a core."""
    fitting = int(free_gib / GIB_PER_WORKER / workers)
    return runs if fitting >= runs else max(1, min(2, fitting))


def _start(home: Home, *, slots: int) -> subprocess.Popen[bytes]:
    home.make()
    with (home.logs / "stack.log").open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "cli", "up", f"--slots={slots}"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches us, and we stop it.
            preexec_fn=dies_with_parent(signal.SIGTERM),
        )


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
