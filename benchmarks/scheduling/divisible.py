"""The ideal: one pool whose GPUs can be divided and moved at any moment, shared equally by the users.

A run takes up to its number of GPUs and advances in proportion to what it gets. The pool is filled like water: every
user with runs gets an equal share, and what a user cannot use goes to the others in equal shares again. A user's own
runs are served in the order they came, each up to its number. So no GPU idles while a run gets less than it asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.scheduling.workload import GPUS, Job

NOTHING_LEFT = 1e-6


@dataclass
class Outcome:
    """What became of the runs under one way of scheduling."""

    waits: list[float]
    """By number of the run, seconds from arrival to end beyond its own length."""
    utilisation: float
    """Share of the GPUs that worked, from the first to the last arrival."""
    shortest_waits: list[float] = field(default_factory=list)
    """How long each would have waited if every GPU that came free after its arrival had been kept for it."""


def water_filled(demands: Mapping[str, float], supply: float) -> dict[str, float]:
    """Max-min fair shares: nobody gets more than they demand, and nobody could get more but from one who has less."""
    shares: dict[str, float] = {}
    left = supply
    by_demand = sorted(demands.items(), key=lambda item: (item[1], item[0]))
    for place, (user, demand) in enumerate(by_demand):
        shares[user] = min(demand, left / (len(by_demand) - place))
        left -= shares[user]
    return shares


def run_divisible(jobs: Sequence[Job], gpus: int = GPUS) -> Outcome:
    waiting: dict[str, list[Job]] = {}
    remaining = {job.number: job.seconds for job in jobs}
    waits = [0.0] * len(jobs)
    last_arrival = jobs[-1].arrives
    now, used, arrived = jobs[0].arrives, 0.0, 0
    while arrived < len(jobs) or waiting:
        rates = _rates(waiting, gpus)
        ends = min((now + remaining[job.number] / rate for job, rate in rates), default=float("inf"))
        until = min(ends, jobs[arrived].arrives) if arrived < len(jobs) else ends
        step = until - now
        for job, rate in rates:
            remaining[job.number] -= step * rate
            used += max(0.0, min(until, last_arrival) - now) * rate * job.gpus
            if remaining[job.number] <= NOTHING_LEFT:
                waits[job.number] = max(0.0, until - job.arrives - job.seconds)
                waiting[job.user].remove(job)
        waiting = {user: mine for user, mine in waiting.items() if mine}
        now = until
        while arrived < len(jobs) and jobs[arrived].arrives <= now:
            waiting.setdefault(jobs[arrived].user, []).append(jobs[arrived])
            arrived += 1
    return Outcome(waits=waits, utilisation=used / (gpus * (last_arrival - jobs[0].arrives)))


def _rates(waiting: Mapping[str, Sequence[Job]], gpus: int) -> list[tuple[Job, float]]:
    """The runs that advance, with seconds of work per second."""
    shares = water_filled({user: sum(job.gpus for job in mine) for user, mine in waiting.items()}, gpus)
    rates: list[tuple[Job, float]] = []
    for user, mine in waiting.items():
        left = shares[user]
        for job in mine:
            if left <= NOTHING_LEFT:
                break
            given = min(left, job.gpus)
            left -= given
            rates.append((job, given / job.gpus))
    return rates
