"""How long one decision over a long queue takes, of a busy cluster."""

from __future__ import annotations

import gc
import random
import time
from collections.abc import Callable

from benchmarks.scheduling.whole import NODES
from benchmarks.scheduling.workload import GPUS, GPUS_PER_NODE, jobs
from worker.admission import Held, Person, Queued, admit

QUEUED = 10_000
USERS = 50


def decision_milliseconds(times: int, told: Callable[[int], None]) -> list[tuple[float, float]]:
    """By the wall and by the CPU, a pair per state.

    A state has 10,000 rows of 50 users and three priorities, and up to 64 GPUs free on a cluster that is else full.
    What is timed is the pure function with its arguments made; reading the rows and writing the reasons comes on top.
    """
    took: list[tuple[float, float]] = []
    for seed in range(times):
        queue, held, people = _state(random.Random(seed), seed)
        gc.collect()
        began, worked = time.perf_counter(), time.thread_time()
        decisions = admit(queue, held, NODES, people)
        took.append((1000 * (time.perf_counter() - began), 1000 * (time.thread_time() - worked)))
        assert len(decisions) == QUEUED
        told(seed + 1)
    return took


def _state(chance: random.Random, seed: int) -> tuple[list[Queued], list[Held], dict[str, Person]]:
    users = [f"user-{number}" for number in range(USERS)]
    queue = [
        Queued(
            run_id=f"{seed}-{job.number}",
            workers=job.gpus,
            gpus_per_worker=1,
            user=chance.choice(users),
            priority=chance.choice((-1, 0, 0, 0, 1)),
            waiting_seconds=chance.uniform(0, 100_000),
            expected_seconds=job.expected_seconds if chance.random() < 0.8 else None,
        )
        for job in jobs(QUEUED, seed)
    ]
    free = chance.randrange(64)
    held: list[Held] = []
    slots = [node.node_id for node in NODES for _ in range(GPUS_PER_NODE)]
    while len(slots) > free:
        width = min(len(slots) - free, chance.choice((1, 2, 4, 8, 16, 32, 64)))
        taken, slots = slots[:width], slots[width:]
        placement = {node: taken.count(node) for node in sorted(set(taken))}
        held.append(
            Held(
                placement=placement,
                gpus_per_worker=1,
                run_id=f"held-{len(held)}",
                user=chance.choice(users),
                ends_in_seconds=chance.uniform(0, 20_000),
            )
        )
    assert sum(sum(attempt.placement.values()) for attempt in held) == GPUS - free
    return queue, held, {user: Person(recent_gpus=chance.uniform(0, 100)) for user in users}
