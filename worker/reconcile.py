"""Compares rows with Ray and acts: the beat that repairs whatever a lost message, a crash or an outage left behind.

A pass reads Ray first and rows second: an attempt's row is committed before its job exists, so a job without a row is
nobody's. What to do is `worker.decisions`; here is only how to look and how to act. No call to Ray is made inside a
database transaction, so what ends an attempt is judged once more under the row's lock.
"""

from __future__ import annotations

import random
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager

import structlog
from celery.exceptions import SoftTimeLimitExceeded
from sqlalchemy import func, select, update

from api.db.engine import publish
from api.db.tables import Attempt, Event, Heartbeat
from worker.cluster import beat, miss, record_nodes
from worker.connections import Connections
from worker.decisions import EndAttempt, ReleaseSlots, Seen, StopJob, Submit, TellLimit, TellSilence, Wait, judge
from worker.doctor import JOB_PREFIX
from worker.draining import move_away
from worker.endings import ACTOR, end_attempt
from worker.launch import Launched, launch_waiting, stack_mark, submit
from worker.leftovers import take_in_leftovers
from worker.limits import end_overdue, tell_limit
from worker.observation import SILENT_EVENT, Open, open_attempts
from worker.ray_jobs import Job, JobState, Node, RayJobs, RayUnreachable

log = structlog.get_logger()

JOBS_KEPT_SECONDS = 3600.0
"""Ray never forgets a job that is over. We make it forget after so long, since one request lists all it remembers."""
MOST_FORGOTTEN = 20
MOST_UNANSWERED = 3
"""Questions in a pass, each of which may take its whole timeout. A job on a node that is cut off leaves one open; with
so many the rest waits for the next pass, so that this one still gets to what is queued."""


def reconcile(connections: Connections) -> bool:
    """One pass; returns False at once, having done nothing, if another is under way."""
    with connections.only_one("reconcile") as mine:
        if mine:
            with connections.ray() as ray:
                _pass(connections, ray)
        return mine


def reconcile_if_due(connections: Connections) -> bool:
    """The same for a message; also does nothing where the last pass began less than half an interval ago.

    So messages that piled up while nobody took them, or that two beats sent, cost next to nothing.
    """
    with connections.only_one("reconcile") as mine:
        if not mine or _was_just_done(connections):
            return False
        with connections.ray() as ray:
            _pass(connections, ray)
        return True


def reconcile_run(connections: Connections, run_id: str) -> None:
    """Looks at the open attempts of one run now, since a message hints at news; may happen beside a pass."""
    with connections.transaction() as session:
        opened = open_attempts(session, run_id=run_id)
    if not opened:
        return
    with connections.ray() as ray:
        try:
            nodes = ray.nodes()
        except RayUnreachable as error:
            log.warning("ray_unreachable", error=str(error))
            return
        _see_to(connections, ray, opened, {}, nodes)


def _was_just_done(connections: Connections) -> bool:
    with connections.transaction() as session:
        passed = func.extract("epoch", func.now() - Heartbeat.at)
        age = session.execute(select(passed).where(Heartbeat.part == "reconcile")).scalar_one_or_none()
    return age is not None and 0 <= float(age) < connections.settings.reconcile_seconds / 2


class _Unanswered:
    """Counts what Ray did not answer, so that one job for which it cannot does not hold up the others."""

    def __init__(self) -> None:
        self._count = 0

    @property
    def too_many(self) -> bool:
        return self._count >= MOST_UNANSWERED

    @contextmanager
    def counted(self) -> Iterator[None]:
        try:
            yield
        except RayUnreachable as error:
            log.warning("ray_unreachable", error=str(error))
            self._count += 1


def _pass(connections: Connections, ray: RayJobs) -> None:
    with connections.transaction() as session:
        if ended := end_overdue(session):
            log.info("limits_reached", runs=ended)
    try:
        jobs, nodes = ray.jobs(), ray.nodes()
    except RayUnreachable as error:
        log.warning("ray_unreachable", error=str(error))
        with connections.transaction() as session:
            beat(session, "reconcile")
            miss(session, "ray", str(error))
        launch_waiting(connections, ray, error)
        return
    with connections.transaction() as session:
        beat(session, "reconcile")
        beat(session, "ray")
        record_nodes(session, nodes)
        opened = open_attempts(session)
    with connections.transaction() as session:
        move_away(session)
    _see_to(connections, ray, opened, jobs, nodes)
    launch_waiting(connections, ray, nodes)
    _clear(connections, ray, jobs.values(), {item.attempt.submission_id for item in opened})


def _see_to(
    connections: Connections, ray: RayJobs, opened: Sequence[Open], jobs: Mapping[str, Job], nodes: Sequence[Node]
) -> None:
    """Acts on each attempt by itself, so that one that cannot be handled does not hold up the others.

    In any order: however many there are for which Ray does not answer, none comes after them in every pass.
    """
    alive = {node.node_id for node in nodes if node.alive}
    unanswered = _Unanswered()
    for item in random.sample(opened, len(opened)):
        if unanswered.too_many:
            return
        with structlog.contextvars.bound_contextvars(run=item.attempt.run_id, attempt=item.attempt.number):
            try:
                with unanswered.counted():
                    # Not in the list may mean submitted since, so ask for this one before calling it gone.
                    job = jobs.get(item.attempt.submission_id) or ray.job(item.attempt.submission_id)
                    _note_job(connections, item, job)
                    _act(connections, ray, item, job, placement_alive=item.placement.keys() <= alive)
            except SoftTimeLimitExceeded:
                raise
            except Exception:
                log.exception("attempt_not_handled")


def _act(connections: Connections, ray: RayJobs, item: Open, job: Job, *, placement_alive: bool) -> None:
    attempt = item.attempt
    if job.state.is_over and not item.seen.ended:
        # What the trainer could not deliver comes before any judgement: it may say how the attempt ended.
        read = take_in_leftovers(
            connections, attempt_id=attempt.attempt_id, run_id=attempt.run_id, number=attempt.number
        )
        if read:
            with connections.transaction() as session:
                fresh = open_attempts(session, attempt_id=attempt.attempt_id)
            if not fresh:
                return
            item = fresh[0]
    seen = item.with_ray(job, placement_alive=placement_alive)
    verdict = judge(seen, connections.limits)
    if not isinstance(verdict, Wait):
        log.info("judged", verdict=str(verdict), job=job.state, quiet_seconds=round(seen.quiet_seconds, 1))
    match verdict:
        case Submit():
            submit(connections, ray, attempt)
        case StopJob(why=why):
            ray.stop(attempt.submission_id)
            _note_stop(connections, attempt, why)
        case TellSilence():
            _tell_silence(connections, attempt, seen)
        case TellLimit(reason=reason):
            with connections.transaction() as session:
                tell_limit(session, attempt.run_id, attempt.number, reason)
        case EndAttempt() | ReleaseSlots():
            _end(connections, ray, attempt, job, seen, placement_alive=placement_alive)


def _end(
    connections: Connections, ray: RayJobs, attempt: Launched, job: Job, seen: Seen, *, placement_alive: bool
) -> None:
    """Judges once more under the row's lock, since a claim or a report may have come in; then ends the attempt."""
    log_tail = None
    if job.state is JobState.ended and seen.reported is None:
        try:
            log_tail = ray.log_tail(job)
        except RayUnreachable:  # The log lies on a node that is cut off, and the end does not wait for it.
            log_tail = job.message
    with connections.transaction() as session:
        row = session.get_one(Attempt, attempt.attempt_id, with_for_update=True)
        for item in open_attempts(session, attempt_id=attempt.attempt_id):
            match judge(item.with_ray(job, placement_alive=placement_alive), connections.limits):
                case EndAttempt() as end:
                    end_attempt(session, row, end, connections.limits, log_tail=log_tail)
                case ReleaseSlots():
                    row.slots_released_at = func.now()
                    publish(session, attempt.run_id)


def _note_job(connections: Connections, item: Open, job: Job) -> None:
    """Keeps Ray's last word; a job that Ray knows was submitted, whoever crashed before noting it."""
    if not item.is_news(job):
        return
    values: dict[str, object] = {"ray_status": job.state.value}
    if job.state is not JobState.gone:
        values["submitted_at"] = func.coalesce(Attempt.submitted_at, func.now())
    with connections.transaction() as session:
        session.execute(update(Attempt).where(Attempt.id == item.attempt.attempt_id).values(**values))
        publish(session, item.attempt.run_id)


def _note_stop(connections: Connections, attempt: Launched, why: str) -> None:
    """Told once, whoever asked: a message and the beat may both have found that the job is to be stopped."""
    with connections.transaction() as session:
        row = session.get_one(Attempt, attempt.attempt_id, with_for_update={"key_share": True})
        first, row.stop_requested_at = row.stop_requested_at is None, func.now()
        if first:
            session.add(
                Event(
                    run_id=attempt.run_id,
                    attempt_number=attempt.number,
                    kind="attempt",
                    actor=ACTOR,
                    text=f"The Ray job was told to stop: {why}.",
                )
            )


def _tell_silence(connections: Connections, attempt: Launched, seen: Seen) -> None:
    with connections.transaction() as session:
        session.add(
            Event(
                run_id=attempt.run_id,
                attempt_number=attempt.number,
                kind=SILENT_EVENT,
                actor=ACTOR,
                text=f"Nothing was heard of the trainer for {seen.quiet_seconds:.0f} s; its Ray job still runs.",
                data={"quiet_seconds": seen.quiet_seconds, "stopped_after_seconds": connections.limits.silent_stop},
            )
        )


def _clear(connections: Connections, ray: RayJobs, jobs: Collection[Job], known: set[str]) -> None:
    """Stops this stack's jobs that no open attempt stands behind, and makes Ray forget those that are long over: its
    own, and those by which nodes were looked at, of which nobody wants to hear any more after some minutes."""
    ours = [
        job
        for job in jobs
        if job.metadata.get("stack") == stack_mark(connections.settings) and job.submission_id not in known
    ]
    old = time.time() - JOBS_KEPT_SECONDS
    strays = [job for job in ours if not job.state.is_over]
    looks = [job for job in jobs if job.submission_id.startswith(JOB_PREFIX)]
    done = [job for job in [*ours, *looks] if job.state.is_over and (job.ended_at or old) < old]
    unanswered = _Unanswered()
    for job in [*random.sample(strays, len(strays)), *done[:MOST_FORGOTTEN]]:
        if unanswered.too_many:
            return
        with unanswered.counted():
            if job.state.is_over:
                ray.delete(job.submission_id)
            else:
                log.warning("stray_job_stopped", submission_id=job.submission_id)
                ray.stop(job.submission_id)
