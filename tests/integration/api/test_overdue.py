"""The API sends `reconcile` where no beat does."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import pytest
import redis
from sqlalchemy import Engine, text

from api.dispatch import Dispatcher
from api.runs.overdue import LEAST_SECONDS, Overdue
from api.settings import Settings
from tests.integration.api.conftest import serving


@dataclass
class Ground:
    engine: Engine
    settings: Settings
    broker: redis.Redis
    overdue: Overdue

    def last_pass(self, seconds_ago: float) -> None:
        with self.engine.begin() as connection:
            connection.execute(
                text(
                    "INSERT INTO heartbeats (part, at) VALUES ('reconcile', now() - make_interval(secs => :s))"
                    " ON CONFLICT (part) DO UPDATE SET at = excluded.at"
                ),
                {"s": seconds_ago},
            )

    def sent(self) -> list[str]:
        messages = [json.loads(message) for message in self.broker.lrange("celery", 0, -1)]  # type: ignore[union-attr]
        assert all(message["headers"]["expires"] is None for message in messages)
        return [message["headers"]["task"] for message in messages]

    def looks_after(self, seconds_ago: float) -> int:
        """How many messages a look sends when the last pass was so long ago."""
        self.last_pass(seconds_ago)
        before = len(self.sent())
        self.overdue.look()
        return len(self.sent()) - before


@pytest.fixture
def ground(settings: Settings, engine: Engine) -> Iterator[Ground]:
    dispatcher = Dispatcher(settings)
    with redis.Redis.from_url(settings.broker_url) as broker:
        broker.delete("celery")
        yield Ground(engine, settings, broker, Overdue(engine, dispatcher, settings))
        broker.delete("celery")
    dispatcher.close()


def test_a_pass_in_time_needs_no_message(ground: Ground) -> None:
    ground.overdue.look()
    assert ground.sent() == [], "the first pass of all is beat's"
    assert ground.looks_after(LEAST_SECONDS - 5) == 0


def test_one_that_is_overdue_is_asked_for_each_time_that_it_is(ground: Ground) -> None:
    for _ in range(3):
        assert ground.looks_after(LEAST_SECONDS + 1) == 1
        assert ground.looks_after(0) == 0
    assert ground.sent() == ["reconcile"] * 3


def test_messages_that_change_nothing_do_not_pile_up(ground: Ground) -> None:
    asked = [age for age in range(11, 400) if ground.looks_after(age)]
    assert asked[0] == 11
    assert len(asked) in (8, 9)
    assert all(later - age - min(age, 60) in (0, 1) for age, later in pairwise(asked))


def test_rare_passes_are_overdue_later(ground: Ground) -> None:
    rare = ground.settings.model_copy(update={"reconcile_seconds": 60.0})
    dispatcher = Dispatcher(rare)
    ground.overdue = Overdue(ground.engine, dispatcher, rare)
    assert [ground.looks_after(age) for age in (200, 290, 301)] == [0, 0, 1]
    dispatcher.close()


def test_the_api_looks_while_it_serves(ground: Ground) -> None:
    ground.last_pass(3600)
    with serving(ground.settings, ground.engine):
        give_up_at = time.monotonic() + 60
        while "reconcile" not in ground.sent():
            assert time.monotonic() < give_up_at, "no message"
            time.sleep(0.05)
    assert set(ground.sent()) == {"reconcile", "canary"}
