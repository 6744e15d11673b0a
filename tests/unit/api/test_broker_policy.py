"""What the doctor thinks of a broker's memory: it may be bounded, it must not forget."""

from __future__ import annotations

import pytest

from api.doctor import checks
from api.settings import Settings


@pytest.mark.parametrize(
    ("policy", "most", "verdict", "told"),
    [
        ("noeviction", 268_435_456, "ok", "noeviction, maxmemory 268,435,456 bytes"),
        ("noeviction", 0, "ok", "noeviction, no maxmemory"),
        ("allkeys-lru", 268_435_456, "failed", "allkeys-lru, maxmemory 268,435,456 bytes"),
    ],
)
def test_a_bound_is_well_as_long_as_nothing_is_evicted(
    monkeypatch: pytest.MonkeyPatch, policy: str, most: int, verdict: str, told: str
) -> None:
    monkeypatch.setattr(checks, "_info", lambda _: {"maxmemory_policy": policy, "maxmemory": most})
    found = checks.broker_policy(Settings.model_construct())
    assert (found.verdict, found.found) == (verdict, told)
