"""What the burst benchmark calls the right order."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from benchmarks.burst.__main__ import Begun, overtaken

BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)


def begun(submitted: float, answered: float, began: float) -> Begun:
    submitted_at, answered_at, began_at = (BEGINNING + timedelta(seconds=s) for s in (submitted, answered, began))
    return Begun(submitted_at=submitted_at, answered_at=answered_at, began_at=began_at)


def test_the_order_of_submission_is_right() -> None:
    assert overtaken([begun(0, 1, 2), begun(0.5, 1.5, 2), begun(1, 2, 5)]) == 0


def test_one_that_waited_while_younger_ones_began_was_overtaken_once() -> None:
    assert overtaken([begun(0, 1, 9), begun(2, 3, 4), begun(3, 4, 5)]) == 1


def test_a_younger_one_may_begin_before_the_older_one_is_taken_in() -> None:
    assert overtaken([begun(0, 3, 9), begun(1, 1.5, 2)]) == 0
