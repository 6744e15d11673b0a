"""What a checkpoint holds, one name for each number and tensor, so that two can be compared in all of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from trainer.contract.metrics import DETERMINISTIC

OF_THE_CLOCK = {"seconds", "cpu_seconds"}


def state_of(folder: Path, step: int) -> dict[str, Any]:
    """The checkpoint of a run's folder after so many steps."""
    document: dict[str, Any] = torch.load(
        folder / "checkpoints" / f"step-{step:08d}" / "state.pt", weights_only=True
    )  # fmt: skip
    return document


def differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Names of what is not the same, bit for bit: weights, average, moments, groups, direction, alpha, c, loss scale,
    counters, deterministic metrics. Times are left out."""
    a, b = dict(_parts(one)), dict(_parts(other))
    assert {"model", "optimizer", "method"} <= one.keys()
    return sorted(a.keys() ^ b.keys()) + sorted(name for name in a.keys() & b.keys() if not _same(a[name], b[name]))


def _parts(state: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in state.items():
        if name == "numbers":
            value = {metric: number for metric, number in value.items() if metric in DETERMINISTIC}
        if name not in OF_THE_CLOCK:
            yield from _leaves(name, value)


def _leaves(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(f"{name}.{key}", inner)
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from _leaves(f"{name}.{number}", inner)
    else:
        yield name, value


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    return bool(a == b)
