"""What an attempt tells the API: rank 0's listener of the training loop, and the driver's reports around it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from trainer.api_client import ApiClient
from trainer.assignment import Assignment
from trainer.contract.ends import EndReason
from trainer.contract.reports import (
    MAX_DETAIL,
    CheckpointReport,
    EndedReport,
    Environment,
    LeaseReport,
    MetricsReport,
    NoticeReport,
    ProgressReport,
    StartedReport,
    Writer,
)
from trainer.delivery import FLUSH_SECONDS, Delivery
from trainer.errors import TrainerError
from trainer.spool import Spool

PROGRESS_SECONDS = 1.0
"""Progress is reported about so often, however short the steps are."""
ETA_WINDOW_SECONDS = 60.0
"""The estimate of the remaining time looks so far back."""
MAX_NOTICE = 1000
MAX_DOING = 200


def now() -> datetime:
    return datetime.now(UTC)


class RankZeroReporter:
    """Implements `trainer.listener.Listener`: numbers what rank 0 tells, spools it, and delivers it from a thread.

    From the first step on it renews the lease, also while a step or a validation takes long. When a newer attempt took
    over, the next call raises TrainerError(superseded), so that the loop ends at once and saves nothing.
    """

    def __init__(self, assignment: Assignment, *, flush_seconds: float = FLUSH_SECONDS) -> None:
        self._storage = assignment.storage
        self._leftovers = assignment.unsent_path(Writer.rank0)
        self._lease_interval_seconds = assignment.claim.lease_interval_seconds
        self._delivery = _delivery(assignment, Writer.rank0, self._report_progress, flush_seconds)
        self._latest: tuple[int, int, float] | None = None  # step, total steps, epoch
        self._first_step_at: datetime | None = None
        self._reported: tuple[int, int, float] | None = None
        self._reported_first_step = False
        self._reported_at = float("-inf")  # monotonic
        self._pace = Pace()
        self._delivery.start()

    @property
    def first_step_done(self) -> bool:
        return self._first_step_at is not None

    @property
    def superseded(self) -> bool:
        return self._delivery.superseded

    def stop(self) -> bool:
        """Whether the API asked the attempt to save and end; what `train` asks each step."""
        return self._delivery.stop_requested

    @property
    def stop_reason(self) -> EndReason:
        """`paused` or `cancelled_by_user`, as the API asked."""
        return self._delivery.stop_reason

    # -- the listener's methods, called by the training loop ----------------------------------------------------------

    def metrics(self, step: int, values: dict[str, float]) -> None:
        self._end_if_superseded()
        self._delivery.add(lambda seq: MetricsReport(seq=seq, at=now(), step=step, values=values))

    def progress(self, step: int, total_steps: int, epoch: float) -> None:
        self._end_if_superseded()
        self._latest = (step, total_steps, epoch)

    def first_step(self) -> None:
        self._first_step_at = now()
        if self._latest is not None:  # the loop tells its progress after this
            step, total_steps, epoch = self._latest
            self._latest = (step + 1, total_steps, epoch)
        self._delivery.hurry()

    def before_checkpoint(self, step: int, folder: Path) -> None:
        """Stores the reports that only this node has beside the checkpoint, so that resuming from it loses none."""
        self._end_if_superseded()
        self._delivery.spool.store_unacknowledged(folder / self._leftovers.name)

    def checkpoint(self, step: int, path: Path, size_bytes: int) -> None:
        relative = path.relative_to(self._storage).as_posix()
        self._delivery.add(
            lambda seq: CheckpointReport(seq=seq, at=now(), step=step, path=relative, size_bytes=size_bytes)
        )
        self._delivery.hurry()

    def notice(self, code: str, text: str, step: int) -> None:
        self._delivery.add(lambda seq: NoticeReport(seq=seq, at=now(), code=code, text=text[:MAX_NOTICE], step=step))

    # -----------------------------------------------------------------------------------------------------------------

    def close(self, *, patience_seconds: float) -> int:
        """Delivers or stores what is left; returns how many reports were stored and not delivered."""
        if self._latest is not None and self._latest != self._reported and self._first_step_at is not None:
            self._add_progress(self._latest)
        return self._delivery.close(patience_seconds=patience_seconds, leftovers=self._leftovers)

    def _end_if_superseded(self) -> None:
        if self._delivery.superseded:
            raise TrainerError(EndReason.superseded, "A newer attempt of the run took over; this one ends unsaved.")

    def _report_progress(self) -> None:
        """Runs in the delivery's thread before each delivery: one report for all steps since the last one."""
        latest, age_seconds = self._latest, time.monotonic() - self._reported_at
        if latest is None or self._first_step_at is None or not self._delivery.is_answered:
            return
        is_news = not self._reported_first_step or (latest != self._reported and age_seconds >= PROGRESS_SECONDS)
        if is_news or age_seconds >= self._lease_interval_seconds:
            self._add_progress(latest)

    def _add_progress(self, latest: tuple[int, int, float]) -> None:
        step, total_steps, epoch = latest
        eta_seconds, first_step_at = self._pace.eta_seconds(step, total_steps, time.monotonic()), self._first_step_at
        self._delivery.add(
            lambda seq: ProgressReport(
                seq=seq, at=now(), step=step, total_steps=total_steps, epoch=epoch, eta_seconds=eta_seconds,
                first_step_at=first_step_at,
            )
        )  # fmt: skip
        self._reported, self._reported_at = latest, time.monotonic()
        self._reported_first_step = self._first_step_at is not None


class Pace:
    """Estimates the remaining time from the steps of the last minute, validation and checkpoints included."""

    def __init__(self) -> None:
        self._readings: deque[tuple[float, int]] = deque()

    def eta_seconds(self, step: int, total_steps: int, at: float) -> float | None:
        """None before two readings with a step between them. `at` is a monotonic clock's, in seconds."""
        self._readings.append((at, step))
        while at - self._readings[0][0] > ETA_WINDOW_SECONDS and len(self._readings) > 2:
            self._readings.popleft()
        then, then_step = self._readings[0]
        if step <= then_step:
            return None
        return max(0, total_steps - step) * (at - then) / (step - then_step)


class DriverReporter:
    """The driver's reports: the lease until rank 0's first step, what it ran on, and last how the attempt ended."""

    def __init__(self, assignment: Assignment, *, flush_seconds: float = FLUSH_SECONDS) -> None:
        self._leftovers = assignment.unsent_path(Writer.driver)
        self._lease_interval_seconds = assignment.claim.lease_interval_seconds
        self._delivery = _delivery(assignment, Writer.driver, self._renew_lease, flush_seconds)
        self._doing = "starting"
        self._renews = True
        self._renewed_at = float("-inf")  # monotonic
        self._delivery.start()

    @property
    def stop_requested(self) -> bool:
        return self._delivery.stop_requested

    @property
    def stop_reason(self) -> EndReason:
        return self._delivery.stop_reason

    @property
    def superseded(self) -> bool:
        return self._delivery.superseded

    def doing(self, text: str) -> None:
        """What the next renewals of the lease say, e.g. "waiting for 2 workers"."""
        self._doing = text[:MAX_DOING]

    def started(self, environment: Environment) -> None:
        self._delivery.add(lambda seq: StartedReport(seq=seq, at=now(), environment=environment))
        self._delivery.hurry()

    def hand_over(self) -> None:
        """From here rank 0 renews the lease."""
        self._renews = False

    def ended(self, reason: EndReason, detail: str) -> None:
        self._renews = False
        self._delivery.add(lambda seq: EndedReport(seq=seq, at=now(), reason=reason, detail=detail[:MAX_DETAIL]))

    def close(self, *, patience_seconds: float) -> int:
        """Delivers or stores what is left; returns how many reports were stored and not delivered."""
        return self._delivery.close(patience_seconds=patience_seconds, leftovers=self._leftovers)

    def _renew_lease(self) -> None:
        if not self._renews or not self._delivery.is_answered:
            return
        if time.monotonic() - self._renewed_at >= self._lease_interval_seconds:
            doing = self._doing
            self._delivery.add(lambda seq: LeaseReport(seq=seq, at=now(), doing=doing))
            self._renewed_at = time.monotonic()


def _delivery(assignment: Assignment, writer: Writer, before: Callable[[], None], flush_seconds: float) -> Delivery:
    claim = assignment.claim
    spool = Spool(assignment.spool_path(writer), attempt_id=claim.attempt_id, writer=writer)
    api = ApiClient(assignment.api_url, claim.attempt_id)
    return Delivery(
        spool, api, attempt_token=claim.attempt_token, writer=writer, before=before, flush_seconds=flush_seconds
    )
