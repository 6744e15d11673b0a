"""The lock of `only_one` never outlives whoever took it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from celery.exceptions import SoftTimeLimitExceeded
from sqlalchemy import event

from api.settings import Settings
from tests.integration.worker.stage import until
from worker.connections import Connections


def strike(connections: Connections, when: str, words: str) -> None:
    """Celery's time limit, once, before or after a statement with these words."""
    left = [words]

    def listener(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if left and left[0] in statement:
            left.clear()
            raise SoftTimeLimitExceeded

    event.listen(connections.engine, when, listener)


def is_free(connections: Connections) -> bool:
    with connections.only_one("a test") as mine:
        return mine


@pytest.mark.parametrize(
    ("when", "words"),
    [
        ("after_cursor_execute", "pg_try_advisory_lock"),
        ("before_cursor_execute", "pg_advisory_unlock"),
        ("after_cursor_execute", "pg_advisory_unlock"),
    ],
)
def test_a_time_limit_that_strikes_while_it_is_taken_or_given_back(settings: Settings, when: str, words: str) -> None:
    struck, other = Connections(settings), Connections(settings)
    strike(struck, when, words)
    with pytest.raises(SoftTimeLimitExceeded):
        is_free(struck)
    until(lambda: is_free(other), what="the lock is free again")
    assert is_free(struck)
    for each in (struck, other):
        each.close()


def test_a_time_limit_that_strikes_inside(settings: Settings) -> None:
    struck, other = Connections(settings), Connections(settings)

    def work(look: Callable[[], bool]) -> None:
        with struck.only_one("a test") as mine:
            assert mine
            assert not look()
            raise SoftTimeLimitExceeded

    with pytest.raises(SoftTimeLimitExceeded):
        work(lambda: is_free(other))
    until(lambda: is_free(other), what="the lock is free again")
    for each in (struck, other):
        each.close()
