"""Watches a worker group from its start to its end, and says why it ended. Knows Ray only through the group."""

from __future__ import annotations

import logging
import statistics
import threading
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from trainer.contract.ends import EndReason
from trainer.environment import environment
from trainer.errors import TrainerError
from trainer.group_messages import Phase, Pulse, RankEnd

if TYPE_CHECKING:
    from trainer.reporter import DriverReporter
    from trainer.worker_group import WorkerGroup

log = logging.getLogger(__name__)

POLL_SECONDS = 0.1
PULSE_SECONDS, FIRST_PULSE_SECONDS = 1.0, 0.1
"""Between two questions to a rank; the second until the first step, so that the start is not waited for."""
SETTLE_SECONDS = 5.0
"""A rank that failed in a collective is often the first to be heard: so long the cause may take to show itself."""
FAREWELL_SECONDS = 30.0
"""For the other ranks to end after one completed."""
TERMINATION_SECONDS = 1.5
"""After SIGTERM, to save a checkpoint: Ray kills three seconds after it."""
SLOW_PASSES = 10
"""A group is hung when nothing got on for so many times the median micro-batch, if that is longer than its time-out."""
MEDIAN_OF = 101
REPORTS_SECONDS = 3.0
"""For rank 0 to deliver or store its reports when the group is ended early."""


@dataclass
class Progress:
    """When each rank was last seen getting on, by the driver's monotonic clock."""

    started_at: float
    seen: dict[int, Pulse] = field(default_factory=dict)
    moved_at: dict[int, float] = field(default_factory=dict)
    passed_at: dict[int, float] = field(default_factory=dict)
    """When each rank's count of passes was last seen to grow."""
    pass_seconds: deque[float] = field(default_factory=lambda: deque(maxlen=MEDIAN_OF))
    """Of the latest micro-batches and validation batches of all ranks, as often as the driver looked."""

    def observe(self, answers: dict[int, Pulse], at: float) -> None:
        for rank, pulse in answers.items():
            before = self.seen.get(rank)
            if before is None or before.progress != pulse.progress:
                self.moved_at[rank] = at
            if before is not None and pulse.passes > before.passes:
                if rank in self.passed_at:  # not the first, before which data and model were prepared
                    self.pass_seconds.append((at - self.passed_at[rank]) / (pulse.passes - before.passes))
                self.passed_at[rank] = at
            self.seen[rank] = pulse

    def still_seconds(self, at: float) -> float:
        """Seconds since any rank got on: while one works, the others may wait for it."""
        return at - max(self.moved_at.values(), default=self.started_at)

    def patience_seconds(self, least: float) -> float:
        """How long the group may stand still before it counts as hung: `least`, or longer where its passes are slow."""
        return max(least, SLOW_PASSES * statistics.median(self.pass_seconds)) if self.pass_seconds else least

    def is_in(self, phase: Phase, size: int) -> bool:
        """Whether all ranks have come at least so far."""
        return not self.not_yet_in(phase, size)

    def not_yet_in(self, phase: Phase, size: int) -> list[int]:
        return [rank for rank in range(size) if rank not in self.seen or self.seen[rank].phase < phase]


def hung_ranks(progress: Progress, silent: Iterable[int], running: Iterable[int]) -> list[int]:
    """Who holds up the group: ranks that do not answer, or else those behind the others, or else all."""
    running = list(running)
    unanswering = [rank for rank in running if rank in set(silent)]
    if unanswering and len(unanswering) < len(running):
        return unanswering
    counts = {rank: progress.seen[rank].left for rank in running if rank in progress.seen}
    waiting = [rank for rank in counts if progress.seen[rank].entered > counts[rank]]
    working = [rank for rank in running if rank not in waiting]
    return working or running


def cause_of(ends: Iterable[RankEnd]) -> RankEnd:
    """Of the ranks that failed, the one that is no echo of another; the lowest rank of several."""
    return min(ends, key=lambda end: (end.is_echo, end.rank))


def supervise(group: WorkerGroup, reporter: DriverReporter, terminated: threading.Event) -> RankEnd:
    """Starts the group and follows it to its end; at return none of its processes lives. Never raises TrainerError."""
    patience_seconds = REPORTS_SECONDS
    try:
        end = _Supervision(group, reporter, terminated).to_its_end()
        if terminated.is_set():
            patience_seconds = 0.0
    except TrainerError as error:
        end = RankEnd(rank=0, reason=error.reason, detail=error.detail)
    finally:
        group.kill(reports_patience_seconds=patience_seconds)
    return end


class _Supervision:
    def __init__(self, group: WorkerGroup, reporter: DriverReporter, terminated: threading.Event) -> None:
        self._group = group
        self._reporter = reporter
        self._terminated = terminated
        self._progress = Progress(started_at=time.monotonic())
        self._asked_at = float("-inf")
        self._handed_over = False
        self._told_start = False

    def to_its_end(self) -> RankEnd:
        self._reporter.doing(f"waiting for {_workers(self._group.size)}")
        self._group.start()
        if (end := self._place()) is not None:
            return end
        self._reporter.doing(f"loading libraries and joining on {_workers(self._group.size)}")
        self._group.begin()
        self._progress = Progress(started_at=time.monotonic())
        return self._watch()

    def _place(self) -> RankEnd | None:
        deadline = time.monotonic() + self._group.join_timeout_seconds
        while not self._group.placed(POLL_SECONDS):
            if (end := self._interruption()) is not None:
                return end
            if time.monotonic() > deadline:
                missing = [rank for rank in range(self._group.size) if rank not in self._group.places]
                raise TrainerError(
                    EndReason.node_lost,
                    f"Ray started no process for {_named(missing)} of {self._group.size} within "
                    f"{self._group.join_timeout_seconds:.0f} s: its resources were there at admission and are not now.",
                )
        return None

    def _watch(self) -> RankEnd:
        ended: list[RankEnd] = []
        while True:
            ended += self._group.ended(POLL_SECONDS)
            self._tell_start(ended)
            if failed := [end for end in ended if end.is_failure]:
                return self._explain(failed)
            if any(end.rank == 0 for end in ended):
                return self._farewell(ended)
            if (end := self._interruption()) is not None:
                return end
            self._take_pulses()
            self._refuse_stillness()

    def _take_pulses(self) -> None:
        now = time.monotonic()
        if now - self._asked_at < (PULSE_SECONDS if self._handed_over else FIRST_PULSE_SECONDS):
            return
        self._asked_at = now
        self._progress.observe(self._group.pulses(), now)
        first = self._progress.seen.get(0)
        if not self._handed_over and first is not None and first.first_step_done:
            self._handed_over = True
            self._reporter.hand_over()

    def _tell_start(self, ended: list[RankEnd]) -> None:
        """Once all ranks have joined, which a rank that ended meanwhile had."""
        if self._told_start:
            return
        devices = {rank: pulse.device for rank, pulse in self._progress.seen.items() if pulse.phase >= Phase.training}
        devices |= {end.rank: end.device for end in ended if end.device}
        if len(devices) == self._group.size:
            self._told_start = True
            self._reporter.started(environment([devices[rank] for rank in sorted(devices)]))
            self._reporter.doing("preparing data and model")

    def _refuse_stillness(self) -> None:
        now = time.monotonic()
        size, group = self._group.size, self._group
        if not self._progress.is_in(Phase.training, size):
            if now - self._progress.started_at > group.join_timeout_seconds:
                late = self._progress.not_yet_in(Phase.training, size)
                group.write_stacks(timeout_seconds=1.0)
                raise TrainerError(
                    EndReason.trainer_hung,
                    f"{_named(late)} of {size} did not join the others within {group.join_timeout_seconds:.0f} s.",
                )
            return
        patience = self._progress.patience_seconds(group.hang_timeout_seconds)
        if self._progress.still_seconds(now) > patience:
            hung = hung_ranks(self._progress, group.silent(group.hang_timeout_seconds / 2), group.running)
            group.write_stacks(timeout_seconds=1.0)
            where = ", ".join(sorted({group.places[rank].host for rank in hung}))
            raise TrainerError(
                EndReason.trainer_hung,
                f"{_named(hung)} of {size} (on {where}) made no progress for {patience:.0f} s. "
                "The logs of the ranks that still answered end with their stacks.",
            )

    def _interruption(self) -> RankEnd | None:
        """What ends the group from outside: Ray's stop, a newer attempt, or a stop asked for before the first step."""
        first = self._progress.seen.get(0)
        if self._reporter.superseded or (first is not None and first.superseded):
            return RankEnd(rank=0, reason=EndReason.superseded, detail="A newer attempt of the run took over.")
        if self._terminated.is_set():
            return self._stop_in_time()
        if self._reporter.stop_requested and not self._handed_over:
            return RankEnd(rank=0, reason=self._reporter.stop_reason, detail="Stopped before the first step.")
        return None

    def _stop_in_time(self) -> RankEnd:
        """After SIGTERM: a checkpoint if that is quick, since Ray kills soon."""
        log.warning("SIGTERM: stopping.")
        deadline = time.monotonic() + TERMINATION_SECONDS
        if self._group.running:
            self._group.request_stop()
        ended: list[RankEnd] = []
        while self._group.running and not any(end.rank == 0 for end in ended) and time.monotonic() < deadline:
            ended += self._group.ended(POLL_SECONDS)
        for end in ended:
            if end.rank == 0 and end.reason is EndReason.completed:
                return end
        saved = any(end.rank == 0 and not end.is_failure for end in ended)
        return RankEnd(
            rank=0, reason=EndReason.node_lost,
            detail="Ray stopped the job (SIGTERM); " + ("a checkpoint was saved." if saved else "nothing was saved."),
        )  # fmt: skip

    def _explain(self, failed: list[RankEnd]) -> RankEnd:
        """Waits for the cause where only echoes are known, and for rank 0's own words on what all ranks met."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while self._group.running and time.monotonic() < deadline:
            if any(not end.is_echo for end in failed):
                break
            failed += [end for end in self._group.ended(POLL_SECONDS) if end.is_failure]
        if 0 in self._group.running and all(end.is_failure and not end.is_echo for end in failed):
            failed += [end for end in self._group.ended(POLL_SECONDS) if end.is_failure]
        cause = cause_of(failed)
        log.error("Rank %d ended the group: %s: %s", cause.rank, cause.reason, cause.detail)
        return cause

    def _farewell(self, ended: list[RankEnd]) -> RankEnd:
        """Rank 0 is through: the others are, too, in a moment. What they fail at now changes nothing."""
        deadline = time.monotonic() + FAREWELL_SECONDS
        while self._group.running and time.monotonic() < deadline:
            ended += self._group.ended(POLL_SECONDS)
        self._tell_start(ended)
        return next(end for end in ended if end.rank == 0)


def _workers(size: int) -> str:
    return "1 worker" if size == 1 else f"{size} workers"


def _named(ranks: list[int], most: int = 8) -> str:
    shown = ", ".join(str(rank) for rank in ranks[:most]) + (", ..." if len(ranks) > most else "")
    return f"Rank {shown}" if len(ranks) == 1 else f"Ranks {shown}"
