"""In which order the queue is looked at: priority, then fair share, then who waits longest."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from itertools import groupby

from worker.scheduling.words import Held, Person, Policy, Queued, Slots, slots_of_worker


def scheduling_order(
    queue: Sequence[Queued], held: Sequence[Held], people: Mapping[str, Person], capacity: Slots, policy: Policy
) -> list[Queued]:
    """The queue, the first to start first; how it came ordered does not matter.

    Within a priority the next run is the longest waiting one of the user with the least

        (share held now + share held lately + share of their runs ahead in the queue) / weight
            - waited / patience - urgency * min(1, waited / expected length)

    in shares of the cluster. The second term makes sure that everybody is first some time: a run that has waited
    `patience_seconds` longer than another stands before it unless its user holds a whole cluster more. The third one
    lets a short run not wait for many times its length; without a known length it is 0.
    """
    cpu, gpu = 1.0 / max(1, capacity.cpus), 1.0 / max(1, capacity.gpus)
    shares = {user: person.recent_cpus * cpu + person.recent_gpus * gpu for user, person in people.items()}
    for attempt in held:
        slots = slots_of_worker(attempt.gpus_per_worker) * sum(attempt.placement.values())
        shares[attempt.user] = shares.get(attempt.user, 0.0) + slots.cpus * cpu + slots.gpus * gpu
    weights = {user: person.weight for user, person in people.items()}
    by_age = sorted(queue, key=lambda run: (-run.priority, -run.waiting_seconds, run.run_id))
    ordered: list[Queued] = []
    for _, same_priority in groupby(by_age, key=lambda run: run.priority):
        ordered += _in_turn(list(same_priority), shares, weights, cpu, gpu, policy)
    return ordered


def _in_turn(
    by_age: Sequence[Queued],
    shares: dict[str, float],
    weights: Mapping[str, float],
    cpu: float,
    gpu: float,
    policy: Policy,
) -> list[Queued]:
    """Runs of one priority. `shares` is charged with each of them, so that the users take turns."""
    waiting: dict[str, list[Queued]] = {}
    for run in by_age:
        waiting.setdefault(run.user, []).append(run)
    turns = []
    for user, runs in waiting.items():
        score = shares.get(user, 0.0) / weights.get(user, 1.0) - _claim(runs[0], policy)
        turns.append((score, -runs[0].waiting_seconds, user, 0))
    heapq.heapify(turns)
    ordered: list[Queued] = []
    while turns:
        _, _, user, place = turns[0]
        runs = waiting[user]
        run = runs[place]
        ordered.append(run)
        share = shares.get(user, 0.0) + run.workers * (run.gpus_per_worker * gpu if run.gpus_per_worker else cpu)
        shares[user] = share
        if place + 1 == len(runs):
            heapq.heappop(turns)
            continue
        following = runs[place + 1]
        score = share / weights.get(user, 1.0) - _claim(following, policy)
        heapq.heapreplace(turns, (score, -following.waiting_seconds, user, place + 1))
    return ordered


def _claim(run: Queued, policy: Policy) -> float:
    """What its waiting is worth, in shares of the cluster."""
    claim = run.waiting_seconds / policy.patience_seconds
    if run.expected_seconds:
        claim += policy.urgency * min(1.0, run.waiting_seconds / run.expected_seconds)
    return claim
