"""Listeners for a terminal: a progress bar for people, JSON lines for programs. Only rank 0 is shown."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from trainer.contract.metrics import BY_NAME
from trainer.listener import Listener, Outcome, Silence

SHOWN_BESIDE_THE_BAR = {"train_loss": "loss", "validation_top1": "val top-1", "alpha": "alpha"}


class Terminal(Protocol):
    def shown_on(self, rank: int) -> AbstractContextManager[Listener]: ...
    def ended(self, outcome: Outcome) -> None: ...


class Bar(Silence):
    """A bar with the latest numbers beside it; checkpoints and notices as lines above it, on standard error."""

    def __init__(self) -> None:
        self._latest: dict[str, float] = {}
        self._progress = Progress(
            BarColumn(bar_width=16), MofNCompleteColumn(), TextColumn("epoch {task.fields[epoch]:.1f}"),
            TimeRemainingColumn(), TextColumn("{task.fields[numbers]}"), console=Console(stderr=True),
        )  # fmt: skip
        self._task = self._progress.add_task("training", total=None, epoch=0.0, numbers="")
        self._shown = False

    @contextmanager
    def shown_on(self, rank: int) -> Iterator[Listener]:
        self._shown = rank == 0
        if not self._shown:
            yield Silence()
            return
        with self._progress:
            yield self

    def metrics(self, step: int, values: dict[str, float]) -> None:
        self._latest |= values
        shown = {title: self._latest[name] for name, title in SHOWN_BESIDE_THE_BAR.items() if name in self._latest}
        numbers = "  ".join(f"{title} {value:.3g}" for title, value in shown.items())
        self._progress.update(self._task, numbers=numbers)

    def progress(self, step: int, total_steps: int, epoch: float) -> None:
        self._progress.update(self._task, completed=step, total=total_steps, epoch=epoch)

    def checkpoint(self, step: int, path: Path, size_bytes: int) -> None:
        self._progress.console.print(f"Saved {path} ({size_bytes / 2**20:.1f} MiB)", highlight=False, soft_wrap=True)

    def notice(self, code: str, text: str, step: int) -> None:
        self._progress.console.print(f"Step {step}: {text}", highlight=False, soft_wrap=True)

    def ended(self, outcome: Outcome) -> None:
        if self._shown:
            self._progress.stop()
            evaluations = f"{outcome.gradient_evaluations} gradient evaluations"
            numbers = [
                f"{BY_NAME[name].title} {outcome.numbers[name]:.4g} {BY_NAME[name].unit}"
                for name in ("train_loss", "validation_loss", "validation_top1")
                if name in outcome.numbers
            ]
            print(f"{outcome.detail or f'Trained {outcome.step} steps.'} {evaluations}. {', '.join(numbers)}")


class JsonLines(Silence):
    """One JSON object per line on standard output; `event` says what it is, `at` is UTC."""

    def __init__(self) -> None:
        self._shown = False

    @contextmanager
    def shown_on(self, rank: int) -> Iterator[Listener]:
        self._shown = rank == 0
        yield self if self._shown else Silence()

    def metrics(self, step: int, values: dict[str, float]) -> None:
        self._write("metrics", step=step, values=values)

    def progress(self, step: int, total_steps: int, epoch: float) -> None:
        self._write("progress", step=step, total_steps=total_steps, epoch=epoch)

    def first_step(self) -> None:
        self._write("first_step")

    def checkpoint(self, step: int, path: Path, size_bytes: int) -> None:
        self._write("checkpoint", step=step, path=str(path), size_bytes=size_bytes)

    def notice(self, code: str, text: str, step: int) -> None:
        self._write("notice", code=code, text=text, step=step)

    def ended(self, outcome: Outcome) -> None:
        if self._shown:
            self._write(
                "ended", reason=outcome.reason.value, step=outcome.step, detail=outcome.detail,
                numbers=outcome.numbers, gradient_evaluations=outcome.gradient_evaluations,
            )  # fmt: skip

    def _write(self, event: str, **fields: object) -> None:
        line = json.dumps({"event": event, "at": datetime.now(UTC).isoformat(), **fields})
        print(line, file=sys.stdout, flush=True)
