"""Takes in what a trainer reports: idempotent, in order, one writer at a time.

A row of `report_marks` holds the highest number stored for each writer; its lock serialises that writer, so that a
report sent twice at once is stored once. Locks are taken in the order of `api.db.engine`: mark, attempts, run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import structlog
from sqlalchemy import event, exists, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from api.db.engine import after_commit_send, publish
from api.db.tables import Attempt, CheckpointRow, Event, ReportMark, Run
from api.errors import ReportGap
from api.runs.documents import storable_text
from api.runs.latest import latest_values, with_step
from api.runs.live import publish_metrics
from api.runs.points import store_points
from api.runs.service_clock import serving_seconds
from api.runs.status import TERMINAL, RunStatus
from api.runs.storage import is_checkpoint_path
from api.runs.validity import lock_predecessors, resume_at
from api.telemetry.families import POINTS, REPORTS
from trainer.contract.reports import (
    CheckpointReport,
    Command,
    EndedReport,
    LeaseReport,
    MetricsReport,
    NoticeReport,
    ProgressReport,
    Report,
    ReportReply,
    StartedReport,
    Writer,
)

log = structlog.get_logger()


def take_in(
    session: Session, attempt: Attempt, writer: Writer, reports: Sequence[Report], *, renews_lease: bool = True
) -> ReportReply:
    """Stores the reports of one writer that are not stored yet; does not commit.

    The route and the worker's leftover intake both come through here. Sending a report twice does nothing. Raises
    ReportGap if reports are missing before the first new one. An attempt that ended or was replaced is answered
    `stop` and `superseded`, and nothing is stored. Reports found on storage are no sign of life: `renews_lease` false.
    """
    mark = _lock_mark(session, attempt.id, writer)
    session.refresh(attempt, with_for_update={"key_share": True})
    if _resumed_before(attempt, reports) is not None:
        lock_predecessors(session, attempt)
    run = session.get_one(Run, attempt.run_id, with_for_update={"key_share": True}, populate_existing=True)
    if _is_over(session, attempt, run):
        return ReportReply(acknowledged=mark.last_seq, command=Command.stop, superseded=True)
    new = _in_order(reports, after=mark.last_seq)
    if new:
        mark.last_seq = new[-1].seq
        _store(session, run, attempt, new)
    if renews_lease:
        attempt.lease_renewed_at = func.now()
        attempt.lease_serving_seconds = serving_seconds()
    publish(session, run.id)
    return ReportReply(acknowledged=mark.last_seq, command=_command_for(run))


def _command_for(run: Run) -> Command:
    """What a trainer is told with every answer, so that no command can be lost."""
    if run.status == RunStatus.cancelling or run.limit_reached is not None:
        return Command.stop
    return Command.pause if run.status == RunStatus.pausing else Command.go_on


def _lock_mark(session: Session, attempt_id: str, writer: Writer) -> ReportMark:
    session.execute(insert(ReportMark).values(attempt_id=attempt_id, writer=writer.value).on_conflict_do_nothing())
    return session.execute(
        select(ReportMark)
        .where(ReportMark.attempt_id == attempt_id, ReportMark.writer == writer.value)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).scalar_one()


def _is_over(session: Session, attempt: Attempt, run: Run) -> bool:
    if attempt.ended_at is not None or run.status in TERMINAL:
        return True
    later = exists().where(Attempt.run_id == run.id, Attempt.number > attempt.number)
    return bool(session.scalar(select(later)))


def _in_order(reports: Sequence[Report], *, after: int) -> list[Report]:
    """The reports behind `after`; pure. Raises ReportGap where a number is left out or goes back."""
    new: list[Report] = []
    expected = after + 1
    for report in reports:
        if report.seq < expected and not new:
            continue  # Stored before: its answer was lost.
        if report.seq != expected:
            raise ReportGap(acknowledged=after, first=report.seq)
        new.append(report)
        expected += 1
    return new


def _store(session: Session, run: Run, attempt: Attempt, reports: Sequence[Report]) -> None:
    """In the order of the reports, but all points in one statement."""
    metrics = [report for report in reports if isinstance(report, MetricsReport)]
    stored = store_points(session, run.id, attempt.number, metrics)
    if (earliest := _resumed_before(attempt, reports)) is not None:
        resume_at(session, attempt, earliest)
        run.latest = latest_values(session, run.id)
    _count(session, reports, points=sum(map(len, stored.values())))
    for report in reports:
        match report:
            case MetricsReport():
                values = stored[report.seq]
                run.latest = with_step(run.latest, report.step, values)
                _reached(run, attempt, report.step)
                publish_metrics(session, run, attempt.number, report.step, values)
            case ProgressReport():
                _progress(run, attempt, report)
            case CheckpointReport():
                _checkpoint(session, run, attempt, report)
            case NoticeReport():
                _notice(session, run, attempt, report)
            case StartedReport():
                _started(session, run, attempt, report)
            case LeaseReport():
                attempt.doing = storable_text(report.doing) or None
            case EndedReport():
                attempt.reported_reason = report.reason.value
                attempt.reported_detail = storable_text(report.detail) or None
                after_commit_send(session, "reconcile")


def _count(session: Session, reports: Sequence[Report], *, points: int) -> None:
    """For `/metrics`, once they are committed."""

    def committed(_: Session) -> None:
        for report in reports:
            REPORTS.labels(report.kind).inc()
        POINTS.inc(points)

    event.listen(session, "after_commit", committed, once=True)


def _resumed_before(attempt: Attempt, reports: Sequence[Report]) -> int | None:
    """The step an attempt really resumed from, if before the one its claim named: a torn checkpoint is skipped."""
    if not attempt.resume_step:
        return None
    begun = [report.step - 1 for report in reports if isinstance(report, MetricsReport)]
    begun += [report.step for report in reports if isinstance(report, ProgressReport | CheckpointReport)]
    earliest = max(0, min(begun, default=attempt.resume_step))
    return earliest if earliest < attempt.resume_step else None


def _reached(run: Run, attempt: Attempt, step: int) -> None:
    attempt.step = max(attempt.step, step)
    run.step = attempt.step


def _progress(run: Run, attempt: Attempt, report: ProgressReport) -> None:
    _reached(run, attempt, report.step)
    run.total_steps, run.epoch, run.eta_seconds = report.total_steps, report.epoch, report.eta_seconds
    attempt.doing = None
    if attempt.first_step_at is None:
        attempt.first_step_at = report.first_step_at


def _checkpoint(session: Session, run: Run, attempt: Attempt, report: CheckpointReport) -> None:
    if not is_checkpoint_path(report.path, run.id):
        log.warning("checkpoint_path_refused", run=run.id, attempt=attempt.number, path=report.path[:200])
        _event(session, run, attempt, "notice", f"A checkpoint outside the run's folder was refused: {report.path!r}.")
        return
    session.execute(
        insert(CheckpointRow)
        .values(
            attempt_id=attempt.id,
            step=report.step,
            run_id=run.id,
            path=report.path,
            size_bytes=report.size_bytes,
        )
        .on_conflict_do_nothing()
    )
    _event(
        session, run, attempt, "checkpoint", f"Checkpoint of step {report.step} saved.",
        step=report.step, size_bytes=report.size_bytes,
    )  # fmt: skip


def _notice(session: Session, run: Run, attempt: Attempt, report: NoticeReport) -> None:
    """A resumed attempt comes by the same step and says the same again: once is enough."""
    code = storable_text(report.code)
    said = exists().where(
        Event.run_id == run.id,
        Event.kind == "notice",
        Event.data["code"].astext == code,
        Event.data["step"].astext == str(report.step),
    )
    if not session.scalar(select(said)):
        _event(session, run, attempt, "notice", storable_text(report.text), code=code, step=report.step)


def _started(session: Session, run: Run, attempt: Attempt, report: StartedReport) -> None:
    attempt.environment = _storable(report.environment.model_dump(mode="json"))
    workers = "1 worker" if attempt.world_size == 1 else f"{attempt.world_size} workers"
    host = storable_text(report.environment.host)
    _event(session, run, attempt, "attempt", f"{workers} joined on {host}.")


def _storable(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _storable(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_storable(inner) for inner in value]
    return storable_text(value) if isinstance(value, str) else value


def _event(session: Session, run: Run, attempt: Attempt, kind: str, text: str, **data: Any) -> None:
    session.add(Event(run_id=run.id, attempt_number=attempt.number, kind=kind, actor="trainer", text=text, data=data))
