"""The slots of one kind: which are free on which node now, and how many there will be when."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from worker.scheduling.timeline import Timeline
from worker.scheduling.words import Held, KnownNode, Policy

MOST_RESERVED = 8
"""Runs of one kind that hold a reservation at the same time; those behind them may only fill gaps."""
SHORTEST_SECONDS = 1.0


class Pool:
    """GPUs, or CPU slots. With one slot a worker, what fits is a question of number and not of nodes."""

    def __init__(self, kind: str, held: Sequence[Held], nodes: Sequence[KnownNode], policy: Policy) -> None:
        self.kind = kind
        self.free = {node.node_id: int(getattr(node.slots, kind)) for node in nodes if node.takes_runs}
        self.capacity = sum(self.free.values())
        self._node_of_host = _largest_by_host(kind, nodes)
        self.reservations = 0
        self.waiting: dict[int, int] = {}
        """Runs that wait for these slots, by priority."""
        self.crowded = False
        """So many wait that no other gets a reservation, nor a reason of its own."""
        mine = [attempt for attempt in held if (kind == "gpus") == bool(attempt.gpus_per_worker)]
        for attempt in mine:
            for node_id, slots in self._slots_by_node(attempt).items():
                self.free[node_id] -= slots
        self.ends: list[tuple[float, str]] = []
        self.timeline = Timeline(self.free_now())
        for attempt in mine:
            if (end := expected_end(attempt, policy)) is not None:
                self.ends.append((end, "" if attempt.private else attempt.run_id))
                self.timeline.take(end, math.inf, -self.slots_of(attempt))
        self.ends.sort()

    def free_now(self) -> int:
        """A node that lost slots under its attempts counts as full."""
        return sum(max(0, slots) for slots in self.free.values())

    def slots_of(self, attempt: Held) -> int:
        """On living nodes."""
        return sum(self._slots_by_node(attempt).values())

    def rooms(self, per_worker: int) -> dict[str, int]:
        """How many workers with so many slots each find room on each living node."""
        return {node_id: max(0, slots) // per_worker for node_id, slots in self.free.items()}

    def start(self, placement: Mapping[str, int], per_worker: int, seconds: float) -> None:
        for node_id, workers in placement.items():
            self.free[node_id] -= workers * per_worker
        self.timeline.take(0.0, seconds, sum(placement.values()) * per_worker)

    def reserve(self, slots: int, seconds: float) -> float | None:
        """Keeps slots for the earliest time at which there are so many; returns it. Null: that time is not known, so
        every slot is kept that it may need."""
        self.reservations += 1
        start = self.timeline.earliest(slots, seconds)
        if start is None:
            self.timeline.withhold(slots)
        else:
            self.timeline.take(start, start + seconds, slots)
        return start

    def last_to_end(self, start: float) -> str | None:
        """The run whose end makes a start at that time possible; null too where it is a private one."""
        return next((run_id for end, run_id in self.ends if end == start and run_id), None)

    def _slots_by_node(self, attempt: Held) -> dict[str, int]:
        """On living nodes. A machine that came back has a new id, and what was held on it is held still."""
        per_worker = max(1, attempt.gpus_per_worker)
        found: dict[str, int] = {}
        for node_id, workers in attempt.placement.items():
            now = node_id if node_id in self.free else self._node_of_host.get(attempt.hosts.get(node_id, ""))
            if now is not None:
                found[now] = found.get(now, 0) + workers * per_worker
        return found


def _largest_by_host(kind: str, nodes: Sequence[KnownNode]) -> dict[str, str]:
    """Host -> id of its living node; of several the one with the most slots."""
    living = sorted(
        (node for node in nodes if node.takes_runs), key=lambda node: (getattr(node.slots, kind), node.node_id)
    )
    return {node.host: node.node_id for node in living}


def expected_end(attempt: Held, policy: Policy) -> float | None:
    """In seconds from now, >= 0. One that is leaving does so within the time that pausing takes."""
    if attempt.leaving:
        end = attempt.ends_in_seconds
        return policy.pause_seconds if end is None else min(policy.pause_seconds, max(0.0, end))
    return None if attempt.ends_in_seconds is None else max(0.0, attempt.ends_in_seconds)


def placement_of(workers: int, rooms: Mapping[str, int]) -> dict[str, int] | None:
    """The fullest single node that holds all workers; else as few nodes as possible, roomiest first; else None."""
    single = min(((room, node_id) for node_id, room in rooms.items() if room >= workers), default=None)
    if single is not None:
        return {single[1]: workers}
    placement: dict[str, int] = {}
    left = workers
    for room, node_id in sorted(((room, node_id) for node_id, room in rooms.items()), key=lambda p: (-p[0], p[1])):
        if left == 0 or room == 0:
            break
        placement[node_id] = min(room, left)
        left -= placement[node_id]
    return placement if left == 0 else None
