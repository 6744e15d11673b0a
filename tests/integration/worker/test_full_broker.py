"""A broker at its `maxmemory`: it refuses, which costs hints and nothing else, and beat does not let it come so far."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import pytest
import redis
from celery import Celery

from api.dispatch import Dispatcher
from api.doctor import checks
from api.settings import Settings
from tests.integration.services import valkey_server
from worker.beat import messages_waiting


@pytest.fixture(scope="module")
def full_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    options = {"maxmemory": "4mb", "maxmemory-policy": "noeviction", "appendonly": "yes"}
    with valkey_server(tmp_path_factory.mktemp("full"), options=options) as url:
        fill(url)
        yield url


def fill(url: str) -> None:
    with redis.Redis.from_url(url) as broker, suppress(redis.exceptions.OutOfMemoryError):
        while True:
            broker.lpush("celery", b"x" * 10_000)


@pytest.fixture
def settings(full_broker: str) -> Settings:
    return Settings.model_construct(broker_url=full_broker)


def test_a_message_that_is_refused_is_a_lost_hint(settings: Settings) -> None:
    dispatcher = Dispatcher(settings)
    try:
        dispatcher.send([("reconcile", ())])
        dispatcher.ping()
    finally:
        dispatcher.close()


def test_the_doctor_sees_nothing_wrong_with_the_bound(settings: Settings) -> None:
    found = checks.broker_policy(settings)
    assert (found.verdict, found.found) == ("ok", "noeviction, maxmemory 4,194,304 bytes")


def test_what_waits_is_counted(settings: Settings) -> None:
    app = Celery("beat-test", broker=settings.broker_url, set_as_current=False)
    assert messages_waiting(app) > 100
