"""Which running runs are paused for one that waits: only of lower priority, and only as many as it takes."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence

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

    def starts_after(paused: Iterable[Held]) -> bool:
        return _with(paused, pool, policy).room_from(policy.pause_seconds, seconds) >= slots

    soon = pool.timeline.earliest(slots, seconds)
    if soon is not None and soon <= policy.pause_seconds:
        return []
    picked: list[Held] = []
    for attempt in sorted(
        (attempt for attempt in held if attempt.run_id not in chosen and _may_be_paused(attempt, run, pool)),
        key=lambda attempt: (attempt.priority, pool.slots_of(attempt), attempt.run_id),
    ):
        picked.append(attempt)
        if starts_after(picked):
            break
    else:
        return []
    for attempt in reversed(picked[:-1]):  # The highest priority first: those that the later ones made needless.
        without = [other for other in picked if other is not attempt]
        if starts_after(without):
            picked = without
    return picked


def pause(attempt: Held, timeline: Timeline, pool: Pool, policy: Policy) -> None:
    """Its slots come free in a moment, rather than at its end."""
    end = math.inf if attempt.ends_in_seconds is None else max(0.0, attempt.ends_in_seconds)
    timeline.take(policy.pause_seconds, end, -pool.slots_of(attempt))


def _may_be_paused(attempt: Held, run: Queued, pool: Pool) -> bool:
    return (
        attempt.preemptible
        and not attempt.leaving
        and attempt.priority < run.priority
        and bool(attempt.gpus_per_worker) == bool(run.gpus_per_worker)
        and pool.slots_of(attempt) > 0
    )


def _with(paused: Iterable[Held], pool: Pool, policy: Policy) -> Timeline:
    timeline = pool.timeline.copy()
    for attempt in paused:
        pause(attempt, timeline, pool, policy)
    return timeline
