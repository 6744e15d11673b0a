"""When `BasinQueueStuck` calls: where runs wait for slots of a kind of which some are free, and only there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import promql_parser as promql
import pytest
import yaml

from tests.unit.deploy.rendered import ROOT

Samples = Mapping[tuple[str, ...], float]
"""(metric, label values in any order) -> number: of what the rule asks for no value is one of two labels."""


def rule() -> str:
    loaded = yaml.safe_load((ROOT / "docker/metrics/alerts.yml").read_text())
    rules = [rule for group in loaded["groups"] for rule in group["rules"]]
    return str(next(rule["expr"] for rule in rules if rule["alert"] == "BasinQueueStuck"))


def value(expression: Any, samples: Samples) -> float | None:
    """Of an expression whose vectors have one element without labels, or none (null): what Prometheus makes of it."""
    match expression:
        case promql.ParenExpr():
            return value(expression.expr, samples)
        case promql.NumberLiteral():
            return float(expression.val)
        case promql.AggregateExpr():
            selector = expression.expr
            wanted = {matcher.value for matcher in selector.matchers.matchers}
            assert all(matcher.op == promql.MatchOp.Equal for matcher in selector.matchers.matchers)
            found = [number for key, number in samples.items() if key[0] == selector.name and wanted <= {*key[1:]}]
            return {"sum": sum, "max": max}[str(expression.op)](found) if found else None
        case promql.BinaryExpr():
            left, right = value(expression.lhs, samples), value(expression.rhs, samples)
            match str(expression.op):
                case ">":
                    return left if left is not None and right is not None and left > right else None
                case "and":
                    return left if right is not None else None
                case "unless":
                    return left if right is None else None
                case "or":
                    return left if left is not None else right
    raise AssertionError(f"not known here: {expression.prettify()}")


def slots(kind: str, **states: int) -> dict[tuple[str, ...], float]:
    """As the API tells them: every state, also where there are none."""
    names = ("used", "free", "drained", "away")
    return {("basin_slots", kind, state): float(states.get(state, 0)) for state in names}


def calls(*cluster: Mapping[tuple[str, ...], float], reason: str = "slots", seconds: float = 7200.0) -> bool:
    queue = {("basin_queue_oldest_age_seconds", each): 0.0 for each in ("slots", "behind", "quota")}
    samples: dict[tuple[str, ...], float] = {**queue, ("basin_queue_oldest_age_seconds", reason): seconds}
    for part in cluster:
        samples.update(part)
    return value(promql.parse(rule()), samples) is not None


@pytest.mark.parametrize(
    ("gpus", "cpus", "expected"),
    [
        ({"used": 8}, {"free": 64}, False),
        ({"used": 6, "free": 2}, {"free": 64}, True),
        ({"used": 4, "drained": 4}, {"free": 32, "drained": 32}, False),
        ({"away": 8}, {"free": 4}, False),
        ({}, {"used": 2, "free": 2}, True),
        ({}, {"used": 4}, False),
    ],
    ids=["gpus-full", "gpus-free", "the-rest-drained", "gpus-away", "cpus-free-without-gpus", "cpus-full"],
)
def test_it_calls_where_slots_of_the_kind_that_is_wanted_are_free(
    gpus: dict[str, int], cpus: dict[str, int], *, expected: bool
) -> None:
    assert calls(slots("gpu", **gpus), slots("cpu", **cpus)) is expected


def test_it_leaves_alone_what_waits_for_something_else_or_not_for_long() -> None:
    free = (slots("gpu", free=8), slots("cpu", free=64))
    assert calls(*free)
    assert not calls(*free, reason="quota")
    assert not calls(*free, seconds=60.0)
