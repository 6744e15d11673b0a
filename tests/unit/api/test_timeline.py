"""How long a run stayed in each status: nothing lost, nothing negative."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from api.runs.status import TERMINAL, RunStatus
from api.runs.timeline import Move, spans

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def test_each_stay_ends_when_the_next_begins_and_the_last_goes_on_until_now() -> None:
    moves = [
        Move(to=RunStatus.queued, at=after(0)),
        Move(to=RunStatus.launching, at=after(5), attempt=1),
        Move(to=RunStatus.running, at=after(12), attempt=1),
    ]
    stays = spans(moves, after(100))
    assert [(stay.status, stay.seconds, stay.attempt) for stay in stays] == [
        ("queued", 5.0, None), ("launching", 7.0, 1), ("running", 88.0, 1),
    ]  # fmt: skip
    assert [stay.ended_at for stay in stays] == [after(5), after(12), None]


def test_the_status_it_ended_in_takes_no_time() -> None:
    stays = spans([Move(to=RunStatus.queued, at=after(0)), Move(to=RunStatus.cancelled, at=after(3))], after(100))
    assert [(stay.status, stay.seconds) for stay in stays] == [("queued", 3.0), ("cancelled", None)]


@given(st.lists(st.tuples(st.sampled_from(RunStatus), st.floats(-1, 1e6)), min_size=1), st.floats(0, 1e6))
def test_the_stays_add_up_and_none_is_negative(steps: list[tuple[RunStatus, float]], rest: float) -> None:
    """Also where the moves of one transaction bear one time, or a clock was set back."""
    at, moves = NOON, []
    for status, seconds in steps:
        at += timedelta(seconds=seconds)
        moves.append(Move(to=status, at=at))
    now = at + timedelta(seconds=rest)
    stays = spans(moves, now)
    assert [stay.status for stay in stays] == [status for status, _ in steps]
    assert all(stay.seconds is None or stay.seconds >= 0 for stay in stays)
    assert [stay.seconds is None for stay in stays] == [False] * (len(stays) - 1) + [steps[-1][0] in TERMINAL]
    if all(seconds >= 0 for _, seconds in steps[1:]):
        end = moves[-1].at if steps[-1][0] in TERMINAL else now
        assert abs(sum(stay.seconds or 0.0 for stay in stays) - (end - moves[0].at).total_seconds()) < 1e-3
