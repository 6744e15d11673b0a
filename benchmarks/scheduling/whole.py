"""The same arrivals on a cluster whose GPUs are given whole and until the end: by Basin, or strictly in order."""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable, Sequence

from benchmarks.scheduling.divisible import Outcome
from benchmarks.scheduling.workload import GPUS, GPUS_PER_NODE, Job
from worker.admission import Held, KnownNode, Person, Policy, Queued, Slots, Start, admit

HALF_LIFE_SECONDS = 86_400.0
"""The default of BASIN_SHARE_HALF_LIFE_SECONDS."""
NODES = [
    KnownNode(node_id=f"n{i:03d}", host=f"host-{i:03d}", slots=Slots(gpus=GPUS_PER_NODE))
    for i in range(GPUS // GPUS_PER_NODE)
]


class Cluster:
    """Who waits and who runs, moved on from event to event."""

    def __init__(self, *, lengths_known: bool, half_life: float = HALF_LIFE_SECONDS) -> None:
        self.lengths_known = lengths_known
        self.half_life = half_life
        self.now = 0.0
        self.queue: dict[str, Job] = {}
        self.running: dict[str, tuple[Job, dict[str, int], float]] = {}
        self.recent: dict[str, float] = {}
        self.holding: dict[str, int] = {}

    def moves_to(self, at: float) -> None:
        kept = 0.5 ** ((at - self.now) / self.half_life)
        for user, gpus in self.holding.items():
            self.recent[user] = self.recent.get(user, 0.0) * kept + gpus * (1 - kept)
        self.now = at

    def queued(self) -> list[Queued]:
        return [
            Queued(
                run_id=job.run_id,
                workers=job.gpus,
                gpus_per_worker=1,
                user=job.user,
                waiting_seconds=self.now - job.arrives,
                expected_seconds=job.expected_seconds if self.lengths_known else None,
            )
            for job in self.queue.values()
        ]

    def held(self) -> list[Held]:
        return [
            Held(
                placement=placement,
                gpus_per_worker=1,
                run_id=job.run_id,
                user=job.user,
                ends_in_seconds=(end - self.now) * job.pace_error if self.lengths_known else None,
            )
            for job, placement, end in self.running.values()
        ]

    def people(self) -> dict[str, Person]:
        return {user: Person(recent_gpus=gpus) for user, gpus in self.recent.items()}

    def shortest_wait(self, job: Job) -> float:
        """Until enough GPUs have come free for it, if nobody else got one; without taking any away."""
        free = GPUS - sum(self.holding.values())
        for end, gpus in sorted((end, running.gpus) for running, _, end in self.running.values()):
            if free >= job.gpus:
                break
            free += gpus
            if free >= job.gpus:
                return end - self.now
        return 0.0

    def starts(self, job: Job, placement: dict[str, int]) -> float:
        del self.queue[job.run_id]
        end = self.now + job.seconds
        self.running[job.run_id] = (job, placement, end)
        self.holding[job.user] = self.holding.get(job.user, 0) + job.gpus
        return end

    def ends(self, run_id: str) -> None:
        job, _, _ = self.running.pop(run_id)
        self.holding[job.user] -= job.gpus


def run_basin(
    jobs: Sequence[Job],
    *,
    lengths_known: bool,
    told: Callable[[int, Cluster], None] = lambda done, cluster: None,
    policy: Policy | None = None,
    half_life: float = HALF_LIFE_SECONDS,
) -> Outcome:
    """`told` is called after each event with the number of runs that have ended."""
    cluster = Cluster(lengths_known=lengths_known, half_life=half_life)
    shortest = [0.0] * len(jobs)
    by_id = {job.run_id: job for job in jobs}
    waits = [0.0] * len(jobs)
    ends: list[tuple[float, str]] = []
    arrived = done = 0
    used = 0.0
    last_arrival = jobs[-1].arrives
    while done < len(jobs):
        at = min(ends[0][0] if ends else math.inf, jobs[arrived].arrives if arrived < len(jobs) else math.inf)
        cluster.moves_to(at)
        while ends and ends[0][0] <= at:
            cluster.ends(heapq.heappop(ends)[1])
            done += 1
        while arrived < len(jobs) and jobs[arrived].arrives <= at:
            cluster.queue[jobs[arrived].run_id] = jobs[arrived]
            shortest[jobs[arrived].number] = cluster.shortest_wait(jobs[arrived])
            arrived += 1
        if cluster.queue:
            for decision in admit(cluster.queued(), cluster.held(), NODES, cluster.people(), policy):
                if isinstance(decision, Start):
                    job = by_id[decision.run_id]
                    end = cluster.starts(job, decision.placement)
                    heapq.heappush(ends, (end, job.run_id))
                    waits[job.number] = at - job.arrives
                    used += max(0.0, min(end, last_arrival) - at) * job.gpus
        told(done, cluster)
    utilisation = used / (GPUS * (last_arrival - jobs[0].arrives))
    return Outcome(waits=waits, utilisation=utilisation, shortest_waits=shortest)


def run_in_strict_order(jobs: Sequence[Job]) -> Outcome:
    """First come, first served: nobody overtakes, and a run that does not fit holds back all behind it."""
    waits = [0.0] * len(jobs)
    queue: deque[Job] = deque()
    ends: list[tuple[float, int, int]] = []
    free, arrived, used = GPUS, 0, 0.0
    last_arrival = jobs[-1].arrives
    while arrived < len(jobs) or queue:
        at = min(ends[0][0] if ends else math.inf, jobs[arrived].arrives if arrived < len(jobs) else math.inf)
        while ends and ends[0][0] <= at:
            free += heapq.heappop(ends)[2]
        while arrived < len(jobs) and jobs[arrived].arrives <= at:
            queue.append(jobs[arrived])
            arrived += 1
        while queue and queue[0].gpus <= free:
            job = queue.popleft()
            free -= job.gpus
            heapq.heappush(ends, (at + job.seconds, job.number, job.gpus))
            waits[job.number] = at - job.arrives
            used += max(0.0, min(at + job.seconds, last_arrival) - at) * job.gpus
    return Outcome(waits=waits, utilisation=used / (GPUS * (last_arrival - jobs[0].arrives)))
