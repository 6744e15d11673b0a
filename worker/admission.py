"""Which queued runs start now: a pure function of the queue, of the slots that are held and of the cluster's nodes.

By priority, then first come, first served, strictly: a run that does not fit holds back every one behind it, so that a
large run is never starved by small ones. All workers of a run start or none does. Capacity is a vector per node (CPU
slots, GPUs): 4 GPUs on two nodes are not 4 GPUs on one, and the placement says which node takes how many workers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

MAX_NODES_NAMED = 3


@dataclass(frozen=True, kw_only=True)
class Slots:
    """Whole slots, >= 0: what a worker takes, or what a node has."""

    cpus: int = 0
    gpus: int = 0

    def __add__(self, other: Slots) -> Slots:
        return Slots(cpus=self.cpus + other.cpus, gpus=self.gpus + other.gpus)

    def __sub__(self, other: Slots) -> Slots:
        return Slots(cpus=self.cpus - other.cpus, gpus=self.gpus - other.gpus)

    def __mul__(self, times: int) -> Slots:
        return Slots(cpus=self.cpus * times, gpus=self.gpus * times)

    def holds(self, worker: Slots) -> int:
        """How many such workers find room here, >= 0."""
        rooms = [have // take for have, take in ((self.cpus, worker.cpus), (self.gpus, worker.gpus)) if take > 0]
        return max(0, min(rooms)) if rooms else 0


def slots_of_worker(gpus_per_worker: int) -> Slots:
    """A worker has a GPU or a CPU slot of its own; feeding a GPU costs no CPU slot."""
    return Slots(gpus=gpus_per_worker) if gpus_per_worker else Slots(cpus=1)


@dataclass(frozen=True, kw_only=True)
class KnownNode:
    """A node of the cluster. One that is not `alive` was seen lately and may come back: it only counts for "never"."""

    node_id: str
    host: str
    slots: Slots
    alive: bool = True


@dataclass(frozen=True, kw_only=True)
class Held:
    """Slots of an attempt whose Ray job is not known to be over."""

    placement: Mapping[str, int]
    """Node id -> workers."""
    gpus_per_worker: int


@dataclass(frozen=True, kw_only=True)
class Queued:
    """A run that waits, in the order of the queue."""

    run_id: str
    workers: int
    gpus_per_worker: int
    priority: int = 0


@dataclass(frozen=True, kw_only=True)
class Start:
    run_id: str
    placement: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class Wait:
    run_id: str
    reason: str
    """For a person, at most 256 characters: "needs 4 GPUs, 2 free on host-a"."""


@dataclass(frozen=True, kw_only=True)
class NeverFits:
    run_id: str
    detail: str


Decision = Start | Wait | NeverFits


def admit(queue: Sequence[Queued], held: Sequence[Held], nodes: Sequence[KnownNode]) -> list[Decision]:
    """One decision per queued run, in the order of the queue. While no node is known, every run waits."""
    free = _free_slots(held, nodes)
    decisions: list[Decision] = []
    waiting: list[Queued] = []
    for run in queue:
        worker = slots_of_worker(run.gpus_per_worker)
        if nodes and (short := _can_never_fit(run, worker, nodes)):
            decisions.append(NeverFits(run_id=run.run_id, detail=short))
            continue
        if waiting:
            decisions.append(Wait(run_id=run.run_id, reason=_behind(run, waiting)))
            waiting.append(run)
            continue
        placement = _placement(run.workers, worker, free)
        if placement is None:
            decisions.append(Wait(run_id=run.run_id, reason=_why_not_now(run, worker, free, nodes)))
            waiting.append(run)
            continue
        for node_id, workers in placement.items():
            free[node_id] -= worker * workers
        decisions.append(Start(run_id=run.run_id, placement=placement))
    return decisions


def _free_slots(held: Sequence[Held], nodes: Sequence[KnownNode]) -> dict[str, Slots]:
    free = {node.node_id: node.slots for node in nodes if node.alive}
    for attempt in held:
        for node_id, workers in attempt.placement.items():
            if node_id in free:
                free[node_id] -= slots_of_worker(attempt.gpus_per_worker) * workers
    return free


def _can_never_fit(run: Queued, worker: Slots, nodes: Sequence[KnownNode]) -> str | None:
    most = sum(node.slots.holds(worker) for node in nodes)
    if most >= run.workers:
        return None
    return f"it needs {_need(run)}, all {_count(len(nodes), 'known node')} together have {most}"


def _placement(workers: int, worker: Slots, free: Mapping[str, Slots]) -> dict[str, int] | None:
    """The fullest single node that holds all workers; else as few nodes as possible, roomiest first; else None."""
    rooms = sorted((slots.holds(worker), node_id) for node_id, slots in free.items())
    for room, node_id in rooms:
        if room >= workers:
            return {node_id: workers}
    placement: dict[str, int] = {}
    left = workers
    for room, node_id in sorted(rooms, key=lambda pair: (-pair[0], pair[1])):
        if left == 0 or room == 0:
            break
        placement[node_id] = min(room, left)
        left -= placement[node_id]
    return placement if left == 0 else None


def _why_not_now(run: Queued, worker: Slots, free: Mapping[str, Slots], nodes: Sequence[KnownNode]) -> str:
    if not nodes:
        return f"needs {_need(run)}, no node is known yet"
    rooms = [(free[node.node_id].holds(worker), node.host) for node in nodes if node.node_id in free]
    roomy = sorted((pair for pair in rooms if pair[0]), key=lambda pair: (-pair[0], pair[1]))
    named = ", ".join(f"{room} free on {host[:40]}" for room, host in roomy[:MAX_NODES_NAMED]) or "0 free"
    more = len(roomy) - MAX_NODES_NAMED
    away = sum(not node.alive for node in nodes)
    return (
        f"needs {_need(run)}, {named}"
        + (
            f" and {sum(room for room, _ in roomy[MAX_NODES_NAMED:])} on {_count(more, 'other node')}"
            if more > 0
            else ""
        )
        + (f" ({_count(away, 'node')} away)" if away else "")
    )


def _behind(run: Queued, waiting: Sequence[Queued]) -> str:
    higher = sum(ahead.priority > run.priority for ahead in waiting)
    if higher == len(waiting):
        return f"behind {_count(higher, 'run')} of higher priority"
    return f"behind {_count(len(waiting), 'earlier run')}" + (
        f", {higher} of them of higher priority" if higher else ""
    )


def _need(run: Queued) -> str:
    if run.gpus_per_worker:
        return _count(run.workers * run.gpus_per_worker, "GPU")
    return _count(run.workers, "CPU slot")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
