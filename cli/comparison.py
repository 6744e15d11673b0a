"""What differs between runs: the fields of their specs that are not all equal, and their numbers."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cli.failure import ExitCode, Failure
from cli.views import RunView
from trainer.contract.metrics import BY_NAME

MAIN_METRICS = (
    "validation_top1", "validation_loss", "training_set_loss", "sharpness", "hessian_top_eigenvalue",
    "gradient_evaluations", "cpu_seconds", "seconds",
)  # fmt: skip
BEST_SO_FAR = frozenset({"validation_top1", "validation_loss"})
"""Metrics whose best value along the run says something beside the final one."""
ABSENT = object()


@dataclass(frozen=True)
class Numbers:
    """One metric of all runs."""

    metric: str
    kind: str
    """"final" or "best" (along the run)."""
    values: dict[str, float | None]
    """By run id."""
    best: frozenset[str]
    """Ids of the runs with the best value; empty where no value is better, or all are equal."""


def differences(specs: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Fields that differ: path -> run id -> value; a run that lacks the field lacks the entry. A list is one value."""
    flat = {run_id: flattened(spec) for run_id, spec in specs.items()}
    paths = dict.fromkeys(path for fields in flat.values() for path in fields)
    return {
        path: {run_id: fields[path] for run_id, fields in flat.items() if path in fields}
        for path in paths
        if len({_key(fields.get(path, ABSENT)) for fields in flat.values()}) > 1
    }


def flattened(spec: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    """{"method": {"k": 5}} -> {"method.k": 5}."""
    fields: dict[str, Any] = {}
    for name, value in spec.items():
        if isinstance(value, Mapping) and value:
            fields |= flattened(value, f"{path}{name}.")
        else:
            fields[f"{path}{name}"] = value
    return fields


def _key(value: Any) -> str:
    """Equal for equal values; 1 and 1.0 are equal, 1 and true are not."""
    if value is ABSENT:
        return "absent"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return repr(float(value))
    return json.dumps(value, sort_keys=True)


def numbers(runs: Sequence[RunView], metrics: Sequence[str]) -> list[Numbers]:
    """Final values of the metrics and, where it says something, the best; metrics that no run has are left out.

    Raises Failure (exit code 2) for a metric that the catalogue does not have.
    """
    rows: list[Numbers] = []
    for metric in metrics:
        if metric not in BY_NAME:
            near = ", ".join(difflib.get_close_matches(metric, BY_NAME, 3)) or ", ".join(BY_NAME)
            raise Failure(f"--metric {metric!r} must be a metric of the catalogue, near it: {near}", ExitCode.refused)
        rows.append(_row(metric, "final", {run.id: run.value(metric) for run in runs}))
        if metric in BEST_SO_FAR:
            rows.append(_row(metric, "best", {run.id: run.best(metric) for run in runs}))
    return [row for row in rows if any(value is not None for value in row.values.values())]


def _row(metric: str, kind: str, values: dict[str, float | None]) -> Numbers:
    there = [value for value in values.values() if value is not None]
    direction = BY_NAME[metric].direction
    if direction == "none" or len(set(there)) < 2:
        return Numbers(metric, kind, values, frozenset())
    best = min(there) if direction == "lower" else max(there)
    return Numbers(metric, kind, values, frozenset(run_id for run_id, value in values.items() if value == best))


def document(runs: Sequence[RunView], fields: Mapping[str, Any], rows: Sequence[Numbers]) -> dict[str, Any]:
    """The comparison for programs; `runs` are the API's documents."""
    return {
        "runs": [run.model_dump(mode="json") for run in runs],
        "differences": dict(fields),
        "metrics": [
            {"metric": row.metric, "kind": row.kind, "values": row.values, "best": sorted(row.best)} for row in rows
        ],
    }
