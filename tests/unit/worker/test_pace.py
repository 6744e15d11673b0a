"""Passes over the queue are spaced out, by how long they take."""

from __future__ import annotations

import pytest

from worker.pace import LONGEST_REST_SECONDS, REST, Pace


class Clock:
    def __init__(self) -> None:
        self.now, self.slept = 100.0, 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept += seconds


def test_the_first_pass_begins_at_once_and_so_does_one_after_a_quiet_while() -> None:
    clock = Clock()
    pace = Pace(clock, clock.sleep)
    pace.rest()
    with pace.passing():
        clock.now += 0.1
    clock.now += REST * 0.1
    pace.rest()
    assert clock.slept == 0


def test_the_next_one_waits_as_long_as_the_last_one_took_times_four() -> None:
    clock = Clock()
    pace = Pace(clock, clock.sleep)
    with pace.passing():
        clock.now += 0.1
    clock.now += 0.1
    pace.rest()
    assert clock.slept == pytest.approx(REST * 0.1 - 0.1)


def test_no_rest_is_longer_than_a_second_also_after_a_pass_that_failed() -> None:
    clock = Clock()
    pace = Pace(clock, clock.sleep)

    def failing() -> None:
        with pace.passing():
            clock.now += 30
            raise OSError("away")

    with pytest.raises(OSError, match="away"):
        failing()
    pace.rest()
    assert clock.slept == LONGEST_REST_SECONDS
