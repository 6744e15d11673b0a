"""Which queued runs start now: a pure function of the queue, of what is held, of the nodes, the people and the policy.

1. **Order**: priority, then fair share per user, then who waits longest (`worker/scheduling/order.py`).
2. **Gangs**: all workers of a run start or none does; the placement says which node takes how many.
3. **Reservations**: the first runs that do not fit, whatever their size, get the earliest time at which they will, by
   the expected ends of what runs (`worker/scheduling/timeline.py`).
4. **Back-fill**: a run behind them starts where that delays none of these times. One whose length nobody knows counts
   as endless, and slots whose holder's end nobody knows never come free: then only what no reservation needs is used.
5. **Quotas**: a user over one waits, holds nobody else back, and keeps the order of their own runs.
6. **Preemption**, where the policy allows it: pauses runs of strictly lower priority, as few as it takes.

The same input gives the same answer, in whatever order it comes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from worker.scheduling.order import scheduling_order
from worker.scheduling.pool import MOST_RESERVED, SHORTEST_SECONDS, Pool, placement_of
from worker.scheduling.preemption import pause, victims
from worker.scheduling.reasons import FAR_BEHIND, LONGEST_COUNTED, behind, counted, need, reserved, why_not_now
from worker.scheduling.words import (
    Decision,
    Held,
    KnownNode,
    NeverFits,
    Person,
    Policy,
    Preempt,
    Queued,
    Slots,
    Start,
    Wait,
    slots_of_worker,
)

__all__ = ["Decision", "Held", "KnownNode", "NeverFits", "Person", "Policy", "Preempt", "Queued", "Slots", "Start",
           "Wait", "admit", "slots_of_worker"]  # fmt: skip

NOBODY = Person()


def admit(
    queue: Sequence[Queued],
    held: Sequence[Held],
    nodes: Sequence[KnownNode],
    people: Mapping[str, Person] | None = None,
    policy: Policy | None = None,
) -> list[Decision]:
    """One decision per queued run, in the order of `queue`, then those on running ones. While no node is known, every
    run waits."""
    held = sorted(held, key=lambda attempt: (attempt.run_id, sorted(attempt.placement.items())))
    nodes = sorted(nodes, key=lambda node: node.node_id)
    admission = _Admission(held, nodes, people or {}, policy or Policy())
    for run in scheduling_order(queue, held, people or {}, admission.capacity, admission.policy):
        admission.decide(run)
    return [*(admission.decisions[run.run_id] for run in queue), *admission.preempted]


class _Admission:
    """One pass over the queue; what was decided for a run binds those behind it."""

    def __init__(
        self, held: Sequence[Held], nodes: Sequence[KnownNode], people: Mapping[str, Person], policy: Policy
    ) -> None:
        self.held, self.nodes, self.people, self.policy = held, nodes, people, policy
        self.pools = {kind: Pool(kind, held, nodes, policy) for kind in ("cpus", "gpus")}
        self.capacity = Slots(**{kind: pool.capacity for kind, pool in self.pools.items()})
        self.workers_held: dict[str, int] = {}
        """With those of waiting runs that are ahead; of users who have a quota."""
        for attempt in held:
            workers = sum(attempt.placement.values())
            self.workers_held[attempt.user] = self.workers_held.get(attempt.user, 0) + workers
        self.decisions: dict[str, Decision] = {}
        self.preempted: list[Preempt] = []
        self._victims: set[str] = set()
        self._at_their_quota: set[str] = set()
        self._with_quota = {
            user
            for user, person in people.items()
            if person.max_workers is not None or person.gpu_hours_per_month is not None
        }
        self._most: dict[int, int] = {}

    def decide(self, run: Queued) -> None:
        limited = run.user in self._with_quota
        decision: Decision | None = self._never_fits(run) or (self._over_quota(run) if limited else None)
        if decision is None:
            pool = self.pools["gpus" if run.gpus_per_worker else "cpus"]
            slots = run.workers * max(1, run.gpus_per_worker)
            known = run.expected_seconds
            seconds = math.inf if known is None else max(SHORTEST_SECONDS, known)
            decision = self._start(run, pool, slots, seconds) or self._wait(run, pool, slots, seconds)
            if limited:
                # One that waits counts against its user's quota too, so that those behind it do not keep it waiting.
                self.workers_held[run.user] = self.workers_held.get(run.user, 0) + run.workers
        self.decisions[run.run_id] = decision

    def _never_fits(self, run: Queued) -> NeverFits | None:
        if not self.nodes:
            return None
        most = self._most.get(run.gpus_per_worker)
        if most is None:
            worker = slots_of_worker(run.gpus_per_worker)
            most = self._most[run.gpus_per_worker] = sum(node.slots.holds(worker) for node in self.nodes)
        if most >= run.workers:
            return None
        nodes = counted(len(self.nodes), "known node")
        return NeverFits(run_id=run.run_id, detail=f"it needs {need(run)}, all {nodes} together have {most}")

    def _over_quota(self, run: Queued) -> Wait | None:
        person = self.people.get(run.user, NOBODY)
        most_hours, most_workers = person.gpu_hours_per_month, person.max_workers
        if most_hours is not None and run.gpus_per_worker and person.gpu_hours_used >= most_hours:
            return Wait(run_id=run.run_id, reason=f"your quota of {most_hours:g} GPU-hours this month is used up")
        if most_workers is None:
            return None
        quota = f"your quota of {counted(most_workers, 'worker')} at once"
        if run.workers > most_workers:  # The quota was lowered later: it would hold back the others for ever.
            return Wait(
                run_id=run.run_id, reason=f"needs {counted(run.workers, 'worker')}, {quota} is too small for it"
            )
        if run.user in self._at_their_quota:
            return Wait(run_id=run.run_id, reason=f"behind an earlier run that waits for {quota}")
        has = self.workers_held.get(run.user, 0)
        if has + run.workers <= most_workers:
            return None
        self._at_their_quota.add(run.user)
        if has >= most_workers:
            return Wait(run_id=run.run_id, reason=f"{quota} is used up")
        return Wait(
            run_id=run.run_id, reason=f"needs {counted(run.workers, 'worker')}, {quota} leaves {most_workers - has}"
        )

    def _start(self, run: Queued, pool: Pool, slots: int, seconds: float) -> Start | None:
        if pool.timeline.free[0] < slots or pool.timeline.room(seconds) < slots:
            return None
        placement = placement_of(run.workers, pool.rooms(slots // run.workers))
        if placement is None:
            return None
        pool.start(placement, slots // run.workers, seconds)
        return Start(run_id=run.run_id, placement=placement)

    def _wait(self, run: Queued, pool: Pool, slots: int, seconds: float) -> Wait:
        """Where it cannot start: what for, and what is kept for it."""
        if pool.crowded:
            return Wait(run_id=run.run_id, reason=FAR_BEHIND)
        first = not pool.waiting
        if slots > pool.capacity:
            # It waits for a node that is away or drained, and holds nobody back.
            return Wait(run_id=run.run_id, reason=why_not_now(run, pool.rooms(slots // run.workers), self.nodes)[:256])
        if first:
            reason = why_not_now(run, pool.rooms(slots // run.workers), self.nodes)
        else:
            reason = behind(run.priority, pool.waiting)
        pool.waiting[run.priority] = pool.waiting.get(run.priority, 0) + 1
        if pool.reservations >= MOST_RESERVED:
            pool.crowded = sum(pool.waiting.values()) > LONGEST_COUNTED
            return Wait(run_id=run.run_id, reason=reason)
        paused = self._preempt(run, pool, slots, seconds)
        start = pool.reserve(slots, seconds)
        if paused:
            reason += f"; {counted(paused, 'run')} of lower priority {'is' if paused == 1 else 'are'} paused for it"
        elif first and start:
            reason += f"; {reserved(start, pool.last_to_end(start))}"
        return Wait(run_id=run.run_id, reason=reason[:256], starts_in_seconds=start)

    def _preempt(self, run: Queued, pool: Pool, slots: int, seconds: float) -> int:
        """How many running runs are paused for it."""
        if not self.policy.preemption:
            return 0
        paused = victims(run, slots, seconds, self.held, self._victims, pool, self.policy)
        for attempt in paused:
            pause(attempt, pool.timeline, pool, self.policy)
            self._victims.add(attempt.run_id)
            self.preempted.append(Preempt(run_id=attempt.run_id, for_run_id=run.run_id))
        return len(paused)
