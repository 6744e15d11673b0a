"""Slots by host, kind and state: each slot is in one state, and a drained host has none that are free or away."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from api.runs.readings import _slots


def node(host: str, *, gpus: int, alive: bool = True) -> Any:
    return SimpleNamespace(node_id=f"n-{host}", host=host, cpus=8, gpus=gpus, alive=alive)


def states(*nodes: Any, holds: int = 0, drained: set[str] | None = None) -> dict[str, float]:
    """Of the first node's GPUs, of which a run holds some."""
    first = nodes[0]
    held: list[Any] = (
        [SimpleNamespace(placement={first.node_id: holds}, hosts=None, gpus_per_worker=1)] if holds else []
    )
    hosts = {each.node_id: each.host for each in nodes}
    told = {tuple(labels): value for labels, value in _slots(nodes, held, hosts, drained or set())}
    return {state: told[first.host, "gpu", state] for state in ("used", "free", "drained", "away")}


@pytest.mark.parametrize(
    ("alive", "drained", "expected"),
    [
        (True, False, {"used": 3, "free": 5, "drained": 0, "away": 0}),
        (True, True, {"used": 3, "free": 0, "drained": 5, "away": 0}),
    ],
)
def test_what_a_run_holds_is_used_and_the_rest_is_free_or_drained(
    expected: dict[str, float], *, alive: bool, drained: bool
) -> None:
    gpu_host = node("a", gpus=8, alive=alive)
    assert states(gpu_host, node("b", gpus=8), holds=3, drained={"a"} if drained else set()) == expected


@pytest.mark.parametrize(("drained", "state"), [(set(), "away"), ({"a"}, "drained")])
def test_a_drained_host_that_is_taken_down_is_not_called_away(drained: set[str], state: str) -> None:
    expected = {**dict.fromkeys(("used", "free", "drained", "away"), 0), state: 8}
    assert states(node("a", gpus=8, alive=False), drained=drained) == expected
