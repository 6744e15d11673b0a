"""Beat goes on in steady time, whatever happens to the wall clock."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from celery import Celery

from worker.alive import BEAT
from worker.beat import MOST_WAITING, SteadyScheduler, messages_waiting

OFTEN, SELDOM = 2.0, 300.0


class Ground:
    """A scheduler with a broker in memory, and both of its clocks in the test's hands."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.steady = 1000.0
        self.waiting = 0
        self._app = Celery("beat-test", broker="memory://", set_as_current=False)
        self._app.conf.beat_schedule = {
            "often": {"task": "often", "schedule": OFTEN},
            "seldom": {"task": "seldom", "schedule": SELDOM},
        }
        monkeypatch.setattr("worker.beat.monotonic", lambda: self.steady)
        monkeypatch.setattr("worker.beat.messages_waiting", lambda _: self.waiting)
        self._connection = self._app.connection_for_read()
        self._queue = self._connection.SimpleQueue("celery")
        self.sent()  # What another test may have left: the broker in memory is the process's.
        self.scheduler = SteadyScheduler(app=self._app)

    def wall_clock_jumps(self, by: timedelta) -> None:
        self._app.now = lambda: datetime.now(UTC) + by

    def sent(self) -> list[str]:
        """Names of the tasks sent since the last look, by name."""
        names: list[str] = []
        while True:
            try:
                message = self._queue.get_nowait()
            except self._queue.Empty:
                return sorted(names)
            assert message.headers["expires"] is None
            names.append(message.headers["task"])
            message.ack()

    def close(self) -> None:
        self.scheduler.close()
        self._queue.close()
        self._connection.release()


@pytest.fixture
def ground(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ground]:
    made = Ground(monkeypatch)
    yield made
    made.close()


def test_everything_is_sent_at_the_start_and_then_in_its_time(ground: Ground) -> None:
    assert ground.scheduler.tick() == OFTEN
    assert ground.sent() == ["often", "seldom"]
    ground.steady += OFTEN - 0.5
    assert ground.scheduler.tick() == 0.5
    assert ground.sent() == []
    ground.steady += 0.5
    assert ground.scheduler.tick() == OFTEN
    assert ground.sent() == ["often"]


def test_what_was_due_many_times_is_sent_once(ground: Ground) -> None:
    ground.scheduler.tick()
    ground.sent()
    ground.steady += 100 * SELDOM
    ground.scheduler.tick()
    ground.scheduler.tick()
    assert ground.sent() == ["often", "seldom"]


@pytest.mark.parametrize("days", [-40, 40])
def test_a_wall_clock_that_jumps_changes_nothing(ground: Ground, days: int) -> None:
    ground.scheduler.tick()
    ground.wall_clock_jumps(timedelta(days=days))
    ground.sent()
    ground.steady += 1
    assert ground.scheduler.tick() == 1
    assert ground.sent() == []
    for _ in range(3):
        ground.steady += OFTEN
        ground.scheduler.tick()
    assert ground.sent() == ["often"] * 3


def test_where_nobody_takes_any_it_sends_no_more_and_stays_alive(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    signs: list[str] = []
    monkeypatch.setattr("worker.beat.note_alive", signs.append)
    ground.waiting = MOST_WAITING
    assert ground.scheduler.tick() == OFTEN
    assert ground.sent() == []
    assert signs == [BEAT]
    ground.steady += OFTEN
    ground.waiting = MOST_WAITING - 1
    ground.scheduler.tick()
    assert ground.sent() == ["often"]


def test_a_broker_that_is_away_is_for_sending_to_tell() -> None:
    app = Celery("beat-test", broker="redis://127.0.0.1:1/0", set_as_current=False)
    assert messages_waiting(app) == 0
