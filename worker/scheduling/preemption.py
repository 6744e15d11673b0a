"""Which running runs are paused for one that waits: only of lower priority, and only as many as it takes."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

from worker.scheduling.pool import Pool
from worker.scheduling.timeline import Timeline
from worker.scheduling.words import Held, Policy, Queued


def victims(
    run: Queued, slots: int, seconds: float, held: Sequence[Held], chosen: Collection[str], pool: Pool, policy: Policy
) -> list[Held]:
    """Attempts whose pausing lets `run` start once they have paused, none of which could be spared; empty where there
    are none, or where it starts as soon without.

    The lowest priority first, then the smallest, so that little is paused. Those in `chosen` are spoken for.
    """

    soon = pool.timeline.earliest(slots, seconds)
    if soon is not None and soon <= policy.pause_seconds:
        return []
    timeline = pool.timeline.copy()
    picked: list[Held] = []
    for attempt in sorted(
        (attempt for attempt in held if attempt.run_id not in chosen and _may_be_paused(attempt, run, pool)),
        key=lambda attempt: (attempt.priority, pool.slots_of(attempt), attempt.run_id),
    ):
        picked.append(attempt)
        pause(attempt, timeline, pool, policy)
        if timeline.room_from(policy.pause_seconds, seconds) >= slots:
            break
    else:
        return []
    spared: set[str] = set()
    for attempt in reversed(picked[:-1]):  # The highest priority first: those that the later ones made needless.
        _go_on(attempt, timeline, pool, policy)
        if timeline.room_from(policy.pause_seconds, seconds) >= slots:
            spared.add(attempt.run_id)
        else:
            pause(attempt, timeline, pool, policy)
    return [attempt for attempt in picked if attempt.run_id not in spared]


def pause(attempt: Held, timeline: Timeline, pool: Pool, policy: Policy) -> None:
    """Its slots come free in a moment, rather than at its end."""
    timeline.take(policy.pause_seconds, _end_of(attempt), -pool.slots_of(attempt))


def _go_on(attempt: Held, timeline: Timeline, pool: Pool, policy: Policy) -> None:
    """What undoes `pause`."""
    timeline.take(policy.pause_seconds, _end_of(attempt), pool.slots_of(attempt))


def _end_of(attempt: Held) -> float:
    return math.inf if attempt.ends_in_seconds is None else max(0.0, attempt.ends_in_seconds)


def _may_be_paused(attempt: Held, run: Queued, pool: Pool) -> bool:
    return (
        attempt.preemptible
        and not attempt.leaving
        and attempt.priority < run.priority
        and bool(attempt.gpus_per_worker) == bool(run.gpus_per_worker)
        and pool.slots_of(attempt) > 0
    )
