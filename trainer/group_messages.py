"""What the driver and the ranks of a worker group tell each other. Plain values; loads neither torch nor ray."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from trainer.contract.ends import EndReason


class Phase(IntEnum):
    """Where a rank is, in this order."""

    loading = 0
    """Importing torch and the model library."""
    joining = 1
    """Waiting for the other ranks in the process group."""
    training = 2
    done = 3


@dataclass
class Beats:
    """What a rank has done so far. Written by the training thread, read by another."""

    passes: int = 0
    """Micro-batches and validation batches."""
    entered: int = 0
    """Collectives begun."""
    left: int = 0
    """Collectives through."""

    @property
    def is_waiting(self) -> bool:
        """Inside a collective: whatever goes wrong there, another rank may be the cause."""
        return self.entered > self.left


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a rank's process is."""

    node_id: str
    """Ray's."""
    address: str
    """IP address of the node, as Ray knows it."""
    host: str
    process_id: int


@dataclass(frozen=True, kw_only=True)
class Meeting:
    """How the ranks find each other."""

    size: int
    address: str
    port: int
    is_one_node: bool
    join_timeout_seconds: float


@dataclass(frozen=True, kw_only=True)
class Pulse:
    """A rank's answer to the driver's question whether it is alive and getting on."""

    phase: Phase
    passes: int
    entered: int
    left: int
    device: str
    """E.g. "cpu" or "NVIDIA H100 80GB HBM3"; "" before torch is loaded."""
    first_step_done: bool
    """Rank 0 only: it has reported the first step and renews the lease from here."""
    superseded: bool
    """Rank 0 only: the API told it that a newer attempt took over."""

    @property
    def progress(self) -> tuple[Phase, int, int, int]:
        """Changes whenever the rank gets on."""
        return self.phase, self.passes, self.entered, self.left


@dataclass(frozen=True, kw_only=True)
class RankEnd:
    """How a rank ended; of an error it carries the reason and the sentence, never a traceback (that is in its log)."""

    rank: int
    reason: EndReason
    detail: str = ""
    step: int = 0
    device: str = ""
    """What it trained on; "" if it did not come so far."""
    is_echo: bool = False
    """It failed inside a collective: the cause is perhaps another rank."""

    @property
    def is_failure(self) -> bool:
        return self.reason not in (EndReason.completed, EndReason.cancelled_by_user, EndReason.paused)
