"""A worker process that ends does not wait half a minute for a parent that no longer listens."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from billiard import pool

from worker.shutdown import RESULTS_TAKEN_SECONDS, end_soon


def test_the_wait_for_a_parent_that_takes_no_results_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    # setattr first, so that what end_soon() sets is undone after the test
    monkeypatch.setattr(pool, "GUARANTEE_MESSAGE_CONSUMPTION_RETRY_LIMIT", 300)
    slept: list[float] = []
    monkeypatch.setattr(pool.time, "sleep", slept.append)
    end_soon()
    deaf_parent = SimpleNamespace(on_ready_counter=SimpleNamespace(value=0))
    assert pool.Worker._ensure_messages_consumed(deaf_parent, completed=1) is False
    assert sum(slept) == pytest.approx(RESULTS_TAKEN_SECONDS)


def test_a_parent_that_has_taken_all_results_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "GUARANTEE_MESSAGE_CONSUMPTION_RETRY_LIMIT", 300)
    slept: list[float] = []
    monkeypatch.setattr(pool.time, "sleep", slept.append)
    end_soon()
    listening_parent = SimpleNamespace(on_ready_counter=SimpleNamespace(value=3))
    assert pool.Worker._ensure_messages_consumed(listening_parent, completed=3) is True
    assert slept == []
