"""What to do about an attempt, and what its end means for its run: pure functions from what is seen to a value.

`judge` looks at one attempt, `after_end` at the run whose attempt has just ended. Both are total: every combination of
what can be seen has an answer. The three rules they rest on:

- Ray unreachable says nothing, so nothing is decided from it.
- No new attempt while the old Ray job may still run: an attempt ends only once its job is over. One that nobody claimed
  and whose job is pending for ever ends too: whoever starts in it later is refused the claim.
- Silence is counted in seconds in which the API was serving, so an outage of ours never looks like a dead trainer.
"""

from __future__ import annotations

from dataclasses import dataclass

from api.runs.status import TERMINAL, RunStatus
from trainer.contract.ends import ENDS, EndReason
from worker.ray_jobs import JobState

# A submission on its way is left alone for so long; sending it twice does no harm, it only looks odd in Ray's log.
RESUBMIT_AFTER_SECONDS = 10.0
# Ray forgets a request to stop a job that had not started yet, so the request is repeated.
STOP_AGAIN_SECONDS = 30.0
# Without a tick of the service clock the API counts as away: no trainer could claim its attempt.
API_AWAY_SECONDS = 30.0
FIRST_BACK_OFF_SECONDS = 1.0
LONGEST_BACK_OFF_SECONDS = 60.0

# What a trainer says when it is told to go away from outside, so not the cause of its end.
_TOLD_TO_GO = frozenset({EndReason.cancelled_by_user, EndReason.paused, EndReason.superseded})


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Settings that decisions depend on; all in seconds but the last."""

    lease_timeout: float
    silent_stop: float
    cancel_grace: float
    launch_timeout: float
    max_failures: int
    """Failures that are tolerated since the last newer checkpoint, >= 0; the next one fails the run."""


@dataclass(frozen=True, kw_only=True)
class Seen:
    """All that is known about an attempt at one moment."""

    run_status: RunStatus
    run_reason: EndReason | None = None
    job: JobState | None
    """Null: Ray could not be asked."""
    job_message: str = ""
    ended: bool = False
    submitted: bool = True
    claimed: bool = True
    placement_alive: bool = True
    """Whether every node that admission chose is still there."""
    age_seconds: float = 0.0
    """Since the attempt was made, by the database's clock."""
    quiet_seconds: float = 0.0
    """Serving seconds since the last renewal of the lease; before the claim, since the attempt was made."""
    reported: EndReason | None = None
    reported_detail: str = ""
    silence_told: bool = False
    stop_asked_seconds_ago: float | None = None
    cancel_asked_seconds_ago: float | None = None
    cancel_at_once: bool = False
    """Cancelled twice."""
    pause_asked_seconds_ago: float | None = None
    ran_seconds: float = 0.0
    """Of all attempts of the run, each from its claim to its end."""
    time_limit_seconds: float | None = None
    seconds_to_deadline: float | None = None
    """Negative: the deadline has passed."""
    limit_reached: EndReason | None = None
    """For which limit the trainer was told to save and end."""
    limit_reached_seconds_ago: float | None = None


@dataclass(frozen=True, kw_only=True)
class Wait:
    why: str


@dataclass(frozen=True, kw_only=True)
class Submit:
    """Hand the job to Ray again, under the same id."""


@dataclass(frozen=True, kw_only=True)
class TellSilence:
    """Write one event: the trainer is not heard of, its job still runs."""


@dataclass(frozen=True, kw_only=True)
class TellLimit:
    """Note that the run has reached a limit: its trainer is told to save and end."""

    reason: EndReason


@dataclass(frozen=True, kw_only=True)
class StopJob:
    why: str


@dataclass(frozen=True, kw_only=True)
class ReleaseSlots:
    """The attempt had ended before its job did; now the job is over."""


@dataclass(frozen=True, kw_only=True)
class EndAttempt:
    """The job is over, or never began: end the attempt, free its slots, then see `after_end`."""

    reason: EndReason
    detail: str = ""
    counts: bool = True
    """Whether it uses up some of its run's budget of failures."""


Verdict = Wait | Submit | TellSilence | TellLimit | StopJob | ReleaseSlots | EndAttempt


def limit_reached(
    *, ran_seconds: float, time_limit_seconds: float | None, seconds_to_deadline: float | None
) -> EndReason | None:
    """The limit that a run has reached, if any; the deadline is named first."""
    if seconds_to_deadline is not None and seconds_to_deadline <= 0:
        return EndReason.deadline_passed
    if time_limit_seconds is not None and ran_seconds >= time_limit_seconds:
        return EndReason.time_limit
    return None


def judge(seen: Seen, limits: Limits) -> Verdict:
    """The one next thing to do about an attempt."""
    if seen.job is None:
        return Wait(why="Ray cannot be reached")
    if seen.job.is_over or _never_begins(seen):
        return ReleaseSlots() if seen.ended else _to_end(seen, seen.job, limits)
    if seen.stop_asked_seconds_ago is not None and seen.stop_asked_seconds_ago < STOP_AGAIN_SECONDS:
        return Wait(why="its job was asked to stop")
    if seen.ended:
        return StopJob(why="its attempt has ended")
    return _of_a_job_that_lives(seen, limits)


def _never_begins(seen: Seen) -> bool:
    """Ray does nothing to stop a job that waits for resources, so asking for ever would hold its slots for ever."""
    asked = seen.stop_asked_seconds_ago
    return seen.job is JobState.pending and not seen.claimed and asked is not None and asked >= STOP_AGAIN_SECONDS


def _to_end(seen: Seen, job: JobState, limits: Limits) -> Verdict:
    if seen.reported is not None:
        return _as_reported(seen, seen.reported)
    if seen.run_status in TERMINAL:
        return EndAttempt(reason=seen.run_reason or EndReason.superseded, detail="the run had ended before")
    if seen.run_status is RunStatus.cancelling:
        return EndAttempt(reason=EndReason.cancelled_by_user)
    if seen.limit_reached is not None:
        return EndAttempt(reason=seen.limit_reached)
    if not seen.claimed and seen.run_status is RunStatus.pausing:
        return EndAttempt(reason=EndReason.paused)
    if not seen.claimed:
        return _never_claimed(seen, job, limits)
    if seen.quiet_seconds < limits.lease_timeout:
        return Wait(why="its lease has not expired")
    if seen.stop_asked_seconds_ago is not None:
        return EndAttempt(reason=EndReason.trainer_hung, detail=_silent_for(seen))
    if job is JobState.gone:
        return EndAttempt(reason=EndReason.node_lost, detail="Ray no longer knows the job: its head has restarted")
    return EndAttempt(reason=EndReason.trainer_crashed, detail=seen.job_message)


def _as_reported(seen: Seen, reported: EndReason) -> EndAttempt:
    if seen.limit_reached is not None and (reported in _TOLD_TO_GO or ENDS[reported].retryable):
        # It went because it was told to, and whatever went wrong on the way, no new attempt may follow.
        return EndAttempt(reason=seen.limit_reached, detail=seen.reported_detail)
    if seen.run_status in (RunStatus.launching, RunStatus.running) and seen.claimed:
        if seen.stop_asked_seconds_ago is not None and reported in _TOLD_TO_GO | {EndReason.trainer_crashed}:
            return EndAttempt(reason=EndReason.trainer_hung, detail=_silent_for(seen))
        if reported in _TOLD_TO_GO:
            return EndAttempt(
                reason=EndReason.trainer_crashed, detail="it was stopped from outside, nobody had asked Basin to cancel"
            )
    return EndAttempt(reason=reported, detail=seen.reported_detail)


def _never_claimed(seen: Seen, job: JobState, limits: Limits) -> Verdict:
    cause = seen.job_message or "Ray gives no cause"
    if job is JobState.ended:
        return _unclaimed(seen, f"the Ray job ended before a trainer claimed the run: {cause}")
    if job is JobState.pending:
        return _unclaimed(seen, f"the Ray job never began, and still waited long after it was told to stop: {cause}")
    if not seen.placement_alive:
        return EndAttempt(
            reason=EndReason.node_lost, detail="a node it was placed on left the cluster before the run had started"
        )
    if seen.submitted and seen.quiet_seconds >= limits.launch_timeout:
        return _unclaimed(seen, "Ray no longer knows the job")
    if not seen.submitted and seen.age_seconds < RESUBMIT_AFTER_SECONDS:
        return Wait(why="its submission may be on its way")
    return Submit()


def _unclaimed(seen: Seen, detail: str) -> EndAttempt:
    away = seen.age_seconds - seen.quiet_seconds
    if away <= API_AWAY_SECONDS:
        return EndAttempt(reason=EndReason.launch_timed_out, detail=detail)
    return EndAttempt(
        reason=EndReason.launch_timed_out,
        detail=f"{detail}; it counts as no failure, since the API was away for {away:.0f} s meanwhile",
        counts=False,
    )


def _of_a_job_that_lives(seen: Seen, limits: Limits) -> Verdict:
    if seen.run_status in TERMINAL:
        return StopJob(why="its run has ended")
    if seen.stop_asked_seconds_ago is not None:
        return StopJob(why="it goes on after being asked to stop")
    if (leaving := _leaving(seen)) is not None:
        return _time_to_save(seen, leaving, limits)
    reached = limit_reached(
        ran_seconds=seen.ran_seconds,
        time_limit_seconds=seen.time_limit_seconds,
        seconds_to_deadline=seen.seconds_to_deadline,
    )
    if reached is not None:
        return TellLimit(reason=reached)
    if not seen.claimed:
        if seen.quiet_seconds < limits.launch_timeout:
            return Wait(why="no trainer has claimed it yet")
        return StopJob(why=f"no trainer claimed it within {limits.launch_timeout:g} s")
    if seen.quiet_seconds < limits.lease_timeout:
        return Wait(why="it is alive")
    if seen.reported is not None:
        return StopJob(why="it reported its end but does not exit")
    if not seen.silence_told:
        return TellSilence()
    if seen.quiet_seconds < limits.lease_timeout + limits.silent_stop:
        return Wait(why="it is silent")
    return StopJob(why=_silent_for(seen))


@dataclass(frozen=True, kw_only=True)
class _Leaving:
    """A trainer that was told to save and end."""

    why: str
    seconds_ago: float | None


def _leaving(seen: Seen) -> _Leaving | None:
    if seen.run_status is RunStatus.cancelling:
        return _Leaving(why="cancelled", seconds_ago=seen.cancel_asked_seconds_ago)
    if seen.limit_reached is not None:
        return _Leaving(why="told that its time is over", seconds_ago=seen.limit_reached_seconds_ago)
    if seen.run_status is RunStatus.pausing:
        return _Leaving(why="told to pause", seconds_ago=seen.pause_asked_seconds_ago)
    return None


def _time_to_save(seen: Seen, leaving: _Leaving, limits: Limits) -> Verdict:
    if not seen.claimed:
        return StopJob(why=f"it was {leaving.why} before a trainer claimed it")
    if seen.run_status is RunStatus.cancelling and seen.cancel_at_once:
        return StopJob(why="it was cancelled twice")
    if leaving.seconds_ago is not None and leaving.seconds_ago < limits.cancel_grace:
        return Wait(why="it has time to save")
    return StopJob(why=f"it did not end within {limits.cancel_grace:g} s of being {leaving.why}")


def _silent_for(seen: Seen) -> str:
    return f"nothing was heard of it for {seen.quiet_seconds:.0f} s"


@dataclass(frozen=True, kw_only=True)
class Failures:
    """The retry budget of a run, as its row keeps it."""

    count: int
    """Failed attempts since the last newer checkpoint."""
    at_step: int
    """Step of the newest checkpoint when they were counted."""


@dataclass(frozen=True, kw_only=True)
class FinishRun:
    to: RunStatus
    reason: EndReason


@dataclass(frozen=True, kw_only=True)
class PauseRun:
    """It was being paused and stands at its last checkpoint; one that requeues itself waits there again."""


@dataclass(frozen=True, kw_only=True)
class RetryRun:
    """Back to the queue, not before `back_off_seconds` have passed."""

    failures: Failures
    back_off_seconds: float


@dataclass(frozen=True, kw_only=True)
class LeaveRun:
    """The run had moved on already."""


Consequence = FinishRun | PauseRun | RetryRun | LeaveRun


def after_end(
    run_status: RunStatus,
    reason: EndReason,
    failures: Failures,
    *,
    newest_checkpoint_step: int,
    limits: Limits,
    counts: bool = True,
) -> Consequence:
    """What the end of its attempt means for a run. A newer checkpoint than at the last failure refills the budget; an
    end that does not count (`counts`) leaves it as it is."""
    if run_status in TERMINAL or run_status in (RunStatus.queued, RunStatus.paused):
        return LeaveRun()
    if reason is EndReason.completed:
        return FinishRun(to=RunStatus.succeeded, reason=reason)
    if run_status is RunStatus.cancelling:
        return FinishRun(to=RunStatus.cancelled, reason=EndReason.cancelled_by_user)
    may_help = ENDS[reason].retryable or reason in _TOLD_TO_GO
    if not may_help:
        return FinishRun(to=RunStatus.failed, reason=reason)
    if run_status is RunStatus.pausing:
        return PauseRun()  # However its trainer went: the last checkpoint is there, and a pause is no failure.
    if not counts:
        return RetryRun(failures=failures, back_off_seconds=FIRST_BACK_OFF_SECONDS)
    progressed = newest_checkpoint_step > failures.at_step
    count = 1 if progressed else failures.count + 1
    if count > limits.max_failures:
        cause = EndReason.trainer_crashed if reason in _TOLD_TO_GO else reason
        return FinishRun(to=RunStatus.failed, reason=cause)
    return RetryRun(
        failures=Failures(count=count, at_step=max(newest_checkpoint_step, failures.at_step)),
        back_off_seconds=min(LONGEST_BACK_OFF_SECONDS, FIRST_BACK_OFF_SECONDS * 2 ** min(count - 1, 30)),
    )
