"""`basin run compare`: runs side by side, a column for each; what is equal in their specs is hidden."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from cli import completion
from cli.comparison import MAIN_METRICS, Numbers, differences, document, numbers
from cli.connection import connect
from cli.failure import ExitCode, Failure
from cli.options import AsJson, OptionalRunIds, Study, Token, Url, print_json
from cli.rendering import status_text
from cli.views import RunView
from trainer.contract.metrics import BY_NAME

MAX_RUNS = 100
COLUMN = 18
"""Least characters for a run; what does not fit beside each other stands below."""


def compare(
    run_ids: OptionalRunIds = None,
    study: Study = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(help="Only this metric; may be repeated.", autocompletion=completion.metrics),
    ] = None,
    as_json: AsJson = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Compare runs: what differs in their specs, their final and best numbers, the best marked with *."""
    with connect(url, token) as client:
        ids = list(dict.fromkeys(run_ids or []))
        if study is not None:
            ids += [run.id for run in reversed(list(client.all_runs(study=study))) if run.id not in ids]
        if len(ids) < 2:
            there = f"the study {study!r} has {len(ids)}" if study is not None else f"there is {len(ids)}"
            raise Failure(f"comparing needs two runs or more, {there}: give ids, or --study NAME", ExitCode.refused)
        if len(ids) > MAX_RUNS:
            raise Failure(f"at most {MAX_RUNS} runs compare at once, not {len(ids)}: name some by id", ExitCode.refused)
        runs = [client.run(run_id) for run_id in ids]
        link = page_of(client.url, runs, study if not run_ids else None)
    fields = differences({run.id: run.spec for run in runs})
    rows = numbers(runs, metric or MAIN_METRICS)
    if as_json:
        print_json(document(runs, fields, rows))
        return
    console = Console()
    for part in parts_that_fit(runs, label_width(fields, rows), console.width):
        console.print(table(part, fields, rows))
    console.print(f"* the best; equal fields of the specs are hidden. On the dashboard: {link}", soft_wrap=True)


def page_of(url: str, runs: Sequence[RunView], study: str | None, token: str | None = None) -> str:
    """The compare page on the dashboard, for a study or for these runs; with a token the link logs in."""
    chosen = f"study={quote(study, safe='')}" if study is not None else "runs=" + ",".join(run.id for run in runs)
    return f"{url}/compare?{chosen}" + (f"#token={token}" if token else "")


def label_width(fields: Mapping[str, Any], rows: Sequence[Numbers]) -> int:
    return max(len(label) for label in ["status", *fields, *(label_of(row) for row in rows)])


def label_of(row: Numbers) -> str:
    """Name and unit, e.g. "validation_top1 % (best)"."""
    metric = BY_NAME[row.metric]
    unit = f" {metric.unit}" if metric.unit == "%" else ""
    return f"{metric.name}{unit}{' (best)' if row.kind == 'best' else ''}"


def parts_that_fit(runs: Sequence[RunView], label: int, width: int) -> list[Sequence[RunView]]:
    """The runs in groups that stand beside each other on a terminal of `width` characters."""
    at_once = max(1, (width - label) // (COLUMN + 2))
    return [runs[start : start + at_once] for start in range(0, len(runs), at_once)]


def table(runs: Sequence[RunView], fields: Mapping[str, Any], rows: Sequence[Numbers]) -> Table:
    shown = Table("", *(escape(run.name) for run in runs), box=None, pad_edge=False, padding=(0, 2, 0, 0))
    shown.add_row(Text("id", style="dim"), *(run.id for run in runs))
    shown.add_row(Text("status", style="dim"), *(status_text(run) for run in runs))
    for path, values in fields.items():
        shown.add_row(Text(path, style="dim"), *(Text(spelled(values, run.id)) for run in runs))
    for row in rows:
        cells = [_number(row, run.id) for run in runs]
        shown.add_row(Text(label_of(row), style="dim"), *cells)
    return shown


def spelled(values: Mapping[str, Any], run_id: str) -> str:
    """A field's value as one writes it in a spec; "-" where the run's spec has no such field."""
    if run_id not in values:
        return "-"
    value = values[run_id]
    return value if isinstance(value, str) else json.dumps(value)


def _number(row: Numbers, run_id: str) -> Text:
    value = row.values[run_id]
    if value is None:
        return Text("")
    shown = f"{value:,.0f}" if value.is_integer() and abs(value) >= 100 else f"{value:.4g}"
    return Text(f"{shown} *", style="bold") if run_id in row.best else Text(shown)
