"""Runs as a person reads them: tables, one line, a page."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from rich.table import Table
from rich.text import Text

from cli.views import RunView

COLOURS = {"succeeded": "green", "failed": "red", "cancelled": "yellow", "running": "cyan", "launching": "cyan"}
NARROW = 110
"""Characters in a line, below which a list of runs leaves out what can best be missed."""


def run_table(runs: Sequence[RunView], width: int) -> Table:
    """A row per run for a terminal of `width` characters; studies and priorities only where there are any."""
    wide = width >= NARROW
    with_study = wide and any(run.study for run in runs)
    with_priority = wide and any(run.priority for run in runs)
    headings = ["id", "name", *(["study"] if with_study else []), "status", *(["priority"] if with_priority else [])]
    table = Table(*headings, "step", "method", "top-1 %", *(["age", "user"] if wide else []), box=None, pad_edge=False)
    for column in table.columns:  # a line for each run: the name gives way, and an id is there to be copied
        column.no_wrap = True
    table.columns[1].max_width = 28 if wide else 16
    for run in runs:
        study = [Text(shortened(run.study or "", 16))] if with_study else []
        priority = [str(run.priority)] if with_priority else []
        top1 = number(run.value("validation_top1"), 2)
        age = span((datetime.now(UTC) - run.created_at).total_seconds())
        cells: list[str | Text] = [run.id, Text(run.name), *study, status_text(run, with_start=wide), *priority]
        last: list[str | Text] = [age, Text(run.user)] if wide else []
        table.add_row(*cells, steps(run), run.method, top1, *last)
    return table


def shortened(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}…"


def run_page(run: RunView, link: str) -> Table:
    """Field and value, the empty ones left out."""
    page = Table.grid(padding=(0, 2))
    rows: list[tuple[str, str | Text | None]] = [
        ("id", run.id),
        ("name", Text(run.name)),
        ("status", status_text(run)),
        ("for", _stays(run)),
        ("why", why(run)),
        ("starts", starts(run, datetime.now(UTC))),
        ("study", Text(run.study) if run.study else None),
        ("priority", str(run.priority) if run.priority else None),
        ("copied from", run.copied_from),
        ("model", run.model),
        ("method", run.method),
        ("workers", str(run.workers)),
        ("steps", steps(run)),
        ("remaining", span(run.eta_seconds) if run.eta_seconds is not None and not run.is_over else None),
        ("attempt", str(run.attempt) if run.attempt else None),
        *((name, number(latest.value, 4)) for name, latest in sorted(run.latest.items())),
        ("page", link),
    ]
    for field, value in rows:
        if value:
            page.add_row(Text(field, style="dim"), value)
    return page


def _stays(run: RunView) -> str | None:
    """How long it has been in its status, unless it is over."""
    if run.is_over or run.status_at is None:
        return None
    return span((datetime.now(UTC) - run.status_at).total_seconds())


def status_text(run: RunView, *, with_start: bool = False) -> Text:
    label = f"{run.status} (silent)" if run.silent else run.status
    if run.status == "queued" and run.position is not None:
        label = f"queued, place {run.position}"
        start = starts(run, datetime.now(UTC)) if with_start else None
        label = f"{label}, {start}" if start else label
    return Text(label, style=COLOURS.get(run.status, ""))


def starts(run: RunView, now: datetime) -> str | None:
    """When a queued run is expected to start."""
    if run.status != "queued" or run.estimated_start is None:
        return None
    left = (run.estimated_start - now).total_seconds()
    return f"in about {span(left)}" if left >= 60 else "in a moment"


def why(run: RunView) -> Text | None:
    """Why it waits, or why it ended."""
    told = [run.wait_reason] if run.status == "queued" else [run.sentence, run.detail]
    return Text(" ".join(part for part in told if part)) or None


def steps(run: RunView) -> str:
    return f"{run.step}/{run.total_steps}" if run.total_steps else str(run.step)


def number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def span(seconds: float) -> str:
    """A duration with its two largest units, e.g. "3 min 12 s"."""
    whole = max(0, round(seconds))
    for size, unit, smaller, smaller_unit in ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {unit}" + (f" {rest} {smaller_unit}" if rest else "")
    return f"{whole} s"
