"""What admission decides from and what it decides: plain values, with every time in seconds from now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

DAY_SECONDS = 86_400.0


@dataclass(frozen=True, kw_only=True, slots=True)
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


@dataclass(frozen=True, kw_only=True, slots=True)
class KnownNode:
    """A node of the cluster. One that is not `alive` was seen lately and may come back, one that is `drained` may take
    runs again: they only count for "never"."""

    node_id: str
    host: str
    slots: Slots
    alive: bool = True
    drained: bool = False
    """Whether it gets no new runs. What is held there ends when it ends, and frees nothing."""

    @property
    def takes_runs(self) -> bool:
        return self.alive and not self.drained


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """Slots of an attempt whose Ray job is not known to be over."""

    placement: Mapping[str, int]
    """Node id -> workers."""
    gpus_per_worker: int
    hosts: Mapping[str, str] = field(default_factory=dict)
    """Node id -> host, of the placement."""
    run_id: str = ""
    user: str = ""
    priority: int = 0
    ends_in_seconds: float | None = None
    """By its trainer's estimate; what is past counts as now. Null: nobody knows."""
    preemptible: bool = False
    """Whether pausing it would free its slots: it trains, and nothing else is being done to it."""
    private: bool = False
    """Whether others may not be told which run it is."""
    leaving: bool = False
    """Whether it was told to pause or to end, so that its slots come free without more being done."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Queued:
    """A run that waits."""

    run_id: str
    workers: int
    gpus_per_worker: int
    """0 or 1: with more, what is reserved for it is counted in GPUs and may lie on too many nodes."""
    user: str = ""
    priority: int = 0
    waiting_seconds: float = 0.0
    """Since it was last queued, >= 0."""
    expected_seconds: float | None = None
    """How long it will hold its slots. Null: nobody knows, so it counts as for ever."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Person:
    """A user's weight, quotas and use. Null: no such quota."""

    weight: float = 1.0
    """> 0; twice the weight is entitled to twice the slots."""
    max_workers: int | None = None
    """Workers at once."""
    gpu_hours_per_month: float | None = None
    gpu_hours_used: float = 0.0
    """This calendar month, by UTC."""
    recent_cpus: float = 0.0
    recent_gpus: float = 0.0
    """Slots held on average lately, by an exponential average with the policy's half-life; what is held now comes on
    top."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """What an installation has chosen."""

    preemption: bool = False
    """Whether running runs of lower priority may be paused for one that waits."""
    patience_seconds: float = 7 * DAY_SECONDS
    """Waiting so long outweighs a whole cluster's share, > 0: nobody waits for ever behind lighter users."""
    urgency: float = 0.1
    """The share of the cluster that a wait as long as the run itself outweighs, >= 0. Bounded, so that a heavy user's
    many short runs gain no more than that."""
    pause_seconds: float = 120.0
    """How long pausing takes at most; nothing is paused for a run that starts within it anyway."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Start:
    run_id: str
    placement: dict[str, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Wait:
    run_id: str
    reason: str
    """For a person, at most 256 characters: "needs 4 GPUs, 2 free on host-a"."""
    starts_in_seconds: float | None = None
    """By the expected ends of what runs now. Null: it cannot be known."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NeverFits:
    run_id: str
    detail: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Preempt:
    """Pause a running run, so that one of higher priority can start."""

    run_id: str
    for_run_id: str


Decision = Start | Wait | NeverFits | Preempt
