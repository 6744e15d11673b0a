"""The demo's rows: one per method, with the numbers a person compares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from cli.rendering import number, status_text
from cli.views import RunView

RADIUS = 0.05
"""Length of the step by which the yardstick goes up, as the specs ask (`evaluation.sharpness_radius`)."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One method's final numbers; what was not measured is None."""

    method: str
    top1: float | None = None
    """Validation top-1 in percent."""
    validation_loss: float | None = None
    training_loss: float | None = None
    """Over the whole training set at the final weights."""
    passes: float | None = None
    """Gradient evaluations: forward-backward passes over a batch."""
    cpu_seconds: float | None = None
    rise: float | None = None
    """L(w + r g/||g||) - L(w): the yardstick of sharpness."""


def row_of(method: str, run: RunView) -> Row:
    return Row(
        method=method,
        top1=run.value("validation_top1"),
        validation_loss=run.value("validation_loss"),
        training_loss=run.value("training_set_loss"),
        passes=run.value("gradient_evaluations"),
        cpu_seconds=run.value("cpu_seconds"),
        rise=run.value("sharpness"),
    )


def table(rows: Sequence[Row], runs: Sequence[RunView]) -> Table:
    """Fits 80 columns; a run that did not succeed says so in its first cell, and why stands below (`reasons`)."""
    title = "Same weights, same data, same seed; only the method differs"
    shown = Table(title=title, title_style="", box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    shown.add_column("method", min_width=max(len(row.method) for row in rows))
    for heading in ("val. top-1", "val. loss", "train loss", "passes", "CPU-s", "loss rise"):
        shown.add_column(heading, justify="right", no_wrap=True)
    for row, run in zip(rows, runs, strict=True):
        name = Text(row.method)
        if run.status != "succeeded":
            name = Text.assemble(name, " ", status_text(run))
        shown.add_row(
            name,
            f"{row.top1:.2f} %" if row.top1 is not None else "",
            number(row.validation_loss, 4),
            number(row.training_loss, 5),
            number(row.passes, 0),
            number(row.cpu_seconds, 1),
            number(row.rise, 5),
        )
    return shown


def reasons(runs: Sequence[RunView]) -> list[str]:
    """Why each run that did not succeed ended as it did."""
    return [
        f"{run.name} {run.status}: " + (" ".join(part for part in (run.sentence, run.detail) if part) or "no reason")
        for run in runs
        if run.status != "succeeded"
    ]


def document(study: str, link: str, told: Sequence[str], runs: Sequence[RunView], timing: Mapping[str, Any]) -> Any:
    """The demo for programs; `runs` are the API's documents."""
    return {
        "study": study,
        "compare": link,
        "timing": dict(timing),
        "meaning": list(told),
        "runs": [run.model_dump(mode="json") for run in runs],
    }
