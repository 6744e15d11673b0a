"""Follows runs live: the API's stream in a thread, polling beside it, so that a broken stream costs seconds only."""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.text import Text

from cli.answers import Unreachable
from cli.client import Client
from cli.rendering import number, span, status_text, steps, why
from cli.views import RunView

POLL_SECONDS = 3.0
RECONNECT_SECONDS = 1.0
PATIENCE_SECONDS = 600.0
"""The run goes on without the API, so a watcher waits as long for it to come back."""


def changes(client: Client, run_ids: Sequence[str]) -> Iterator[RunView]:
    """Every newer view of the runs, until all are over. Raises Unreachable when the API stays away for ten minutes."""
    arrived: queue.SimpleQueue[RunView] = queue.SimpleQueue()
    stop = threading.Event()
    threading.Thread(target=_listen, args=(client, run_ids, arrived, stop), daemon=True).start()
    live, seen, answered_at = set(run_ids), dict[str, RunView](), time.monotonic()
    asked_at = 0.0
    try:
        while live:
            found: list[RunView] = []
            try:
                found.append(arrived.get(timeout=max(0.0, asked_at + POLL_SECONDS - time.monotonic())))
            except queue.Empty:
                asked_at = time.monotonic()
                try:
                    found += [client.run(run_id) for run_id in sorted(live)]
                    answered_at = time.monotonic()
                except Unreachable:
                    if time.monotonic() - answered_at > PATIENCE_SECONDS:
                        raise
            for run in found:
                # The stream may be behind the poll.
                if run.id in live and seen.get(run.id) != run and not _older(run, seen.get(run.id)):
                    seen[run.id] = run
                    if run.is_over:
                        live.discard(run.id)
                    yield run
    finally:
        stop.set()


def _older(run: RunView, seen: RunView | None) -> bool:
    return seen is not None and run.attempt == seen.attempt and run.step < seen.step


def _listen(client: Client, run_ids: Sequence[str], arrived: queue.SimpleQueue[RunView], stop: threading.Event) -> None:
    while not stop.is_set():
        # Whatever breaks the stream, polling goes on; the main thread reports what stays wrong.
        with suppress(Exception):
            for change in client.follow(run_ids):
                if stop.is_set():
                    return
                if change.kind == "run":
                    arrived.put(RunView.model_validate(change.data))
        stop.wait(RECONNECT_SECONDS)


def watch(
    client: Client, runs: Sequence[RunView], console: Console, on_change: Callable[[RunView], None] = lambda run: None
) -> list[RunView]:
    """Shows the runs' progress until all are over, and returns them as they ended, in the order given."""
    show = _Bars(console) if console.is_terminal else _Lines(console)
    last = {run.id: run for run in runs}
    with show:
        for run in runs:
            show.update(run)
        for run in changes(client, [run.id for run in runs if not run.is_over]):
            last[run.id] = run
            on_change(run)
            show.update(run)
    return [last[run.id] for run in runs]


class _Bars:
    """A progress bar per run, each on one line of the terminal; below them why a run did not succeed."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar_width = max(8, min(24, console.width - 70))
        self._progress = Progress(
            TextColumn("{task.fields[name]}"),
            BarColumn(bar_width=self._bar_width),
            TextColumn("{task.fields[steps]}"),
            TextColumn("{task.fields[said]}"),
            console=console,
        )
        self._tasks: dict[str, TaskID] = {}
        self._last: dict[str, RunView] = {}

    def __enter__(self) -> None:
        self._progress.start()

    def __exit__(self, *_: object) -> None:
        self._progress.stop()
        for run in self._last.values():
            if run.is_over and run.status != "succeeded":
                told = Text.assemble(run.name, " ", status_text(run), ": ", why(run) or "")
                self._console.print(told, soft_wrap=True)

    def update(self, run: RunView) -> None:
        if run.id not in self._tasks:
            self._tasks[run.id] = self._progress.add_task("", total=None, name="", steps="", said="")
        self._last[run.id] = run
        # The other lines too: a longer name leaves them less room.
        for each in self._last.values():
            self._show(each)

    def _show(self, run: RunView) -> None:
        longest = max(len(each.name) for each in self._last.values())
        name = Text(run.name)
        name.truncate(min(longest, self._console.width // 3), overflow="ellipsis")
        room = self._console.width - min(longest, self._console.width // 3) - self._bar_width - len("100/100") - 4
        said = Text(note(run), style="dim")
        if run.status != "running" or run.silent or not said:
            said = Text.assemble(status_text(run), "  " if said else "", said)
        said.truncate(max(0, room - max(0, len(steps(run)) - len("100/100"))), overflow="ellipsis")
        fields: dict[str, Any] = {"name": name.markup, "steps": steps(run), "said": said.markup}
        # Before the API knows how many steps there are, the bar stands at its beginning.
        self._progress.update(self._tasks[run.id], completed=run.step, total=run.total_steps or math.inf, **fields)


class _Lines:
    """For output that is no terminal: a line when the status changes and at each tenth of the way."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._shown: dict[str, tuple[str, int]] = {}

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...

    def update(self, run: RunView) -> None:
        tenth = run.step * 10 // run.total_steps if run.total_steps else 0
        if self._shown.get(run.id) != (run.status, tenth):
            self._shown[run.id] = (run.status, tenth)
            line = Text(f"{run.name}  {steps(run)}  {status_text(run).plain}  {note(run)}".rstrip())
            self._console.print(line, soft_wrap=True)


def note(run: RunView) -> str:
    """What to say beside the bar: why it waits or ended, or its loss and the time left."""
    if run.is_over or run.status == "queued":
        told = why(run)
        return told.plain if told else ""
    parts: list[str] = []
    loss = run.value("train_loss")
    if loss is not None:
        parts.append(f"loss {number(loss, 3)}")
    top1 = run.value("validation_top1")
    if top1 is not None:
        parts.append(f"top-1 {number(top1, 1)} %")
    if run.eta_seconds is not None:
        parts.append(f"{span(run.eta_seconds)} left")
    return ", ".join(parts)
