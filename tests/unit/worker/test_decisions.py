"""Every combination of what can be seen has an answer, and the answers keep the three rules."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.runs.status import TERMINAL, RunStatus
from trainer.contract.ends import ENDS, EndReason
from worker.decisions import (
    EndAttempt,
    Limits,
    ReleaseSlots,
    Seen,
    StopJob,
    Submit,
    TellLimit,
    TellSilence,
    Verdict,
    Wait,
    judge,
)
from worker.ray_jobs import JobState

LIMITS = Limits(lease_timeout=60, silent_stop=600, cancel_grace=120, launch_timeout=180, max_failures=2)
TRAINING = Seen(run_status=RunStatus.running, job=JobState.running)
LAUNCHED = Seen(run_status=RunStatus.launching, job=JobState.pending, claimed=False)
CANCELLING = Seen(run_status=RunStatus.cancelling, job=JobState.running, cancel_asked_seconds_ago=1)
PAUSING = Seen(run_status=RunStatus.pausing, job=JobState.running, pause_asked_seconds_ago=1)
OVER = [JobState.ended, JobState.gone]
ALIVE = [JobState.pending, JobState.running]
REASONS = list(EndReason)
TOLD_TO_GO = (EndReason.cancelled_by_user, EndReason.paused, EndReason.superseded)

ANY_SEEN = st.builds(
    Seen,
    run_status=st.sampled_from(RunStatus),
    run_reason=st.none() | st.sampled_from(EndReason),
    job=st.none() | st.sampled_from(JobState),
    ended=st.booleans(),
    submitted=st.booleans(),
    claimed=st.booleans(),
    placement_alive=st.booleans(),
    age_seconds=st.sampled_from([0.0, 30.0, 1e6]),
    quiet_seconds=st.sampled_from([0.0, 59.9, 60.0, 180.0, 659.0, 660.0, 1e6]),
    reported=st.none() | st.sampled_from(EndReason),
    silence_told=st.booleans(),
    stop_asked_seconds_ago=st.none() | st.sampled_from([0.0, 29.0, 30.0, 1e6]),
    cancel_asked_seconds_ago=st.none() | st.sampled_from([0.0, 119.0, 120.0, 1e6]),
    cancel_at_once=st.booleans(),
    pause_asked_seconds_ago=st.none() | st.sampled_from([0.0, 119.0, 120.0, 1e6]),
    ran_seconds=st.sampled_from([0.0, 99.0, 100.0, 1e6]),
    time_limit_seconds=st.none() | st.just(100.0),
    seconds_to_deadline=st.none() | st.sampled_from([-1e6, -0.1, 0.0, 0.1, 1e6]),
    limit_reached=st.none() | st.sampled_from([EndReason.time_limit, EndReason.deadline_passed]),
    limit_reached_seconds_ago=st.none() | st.sampled_from([0.0, 119.0, 120.0, 1e6]),
)


def told(verdict: Verdict) -> EndReason:
    assert isinstance(verdict, EndAttempt), verdict
    return verdict.reason


class TestJudgeForAnything:
    @given(ANY_SEEN)
    def test_there_is_a_verdict(self, seen: Seen) -> None:
        verdict = judge(seen, LIMITS)
        assert isinstance(verdict, Wait | Submit | TellSilence | TellLimit | StopJob | ReleaseSlots | EndAttempt)

    @given(ANY_SEEN)
    def test_nothing_is_decided_while_ray_cannot_be_reached(self, seen: Seen) -> None:
        assert isinstance(judge(replace(seen, job=None), LIMITS), Wait)

    @given(ANY_SEEN)
    def test_an_attempt_ends_and_frees_its_slots_only_when_its_job_is_over_or_cannot_be_claimed_any_more(
        self, seen: Seen
    ) -> None:
        if isinstance(judge(seen, LIMITS), EndAttempt | ReleaseSlots):
            asked = seen.stop_asked_seconds_ago
            never_began = seen.job is JobState.pending and not seen.claimed and asked is not None and asked >= 30
            assert seen.job in OVER or never_began

    @given(ANY_SEEN)
    def test_a_job_is_only_submitted_when_ray_does_not_know_it_and_no_trainer_ever_claimed(self, seen: Seen) -> None:
        if isinstance(judge(seen, LIMITS), Submit):
            assert seen.job is JobState.gone
            assert not seen.claimed
            assert not seen.ended
            assert seen.run_status not in TERMINAL

    @given(ANY_SEEN)
    def test_a_run_whose_lease_is_fresh_and_unreported_is_left_alone_unless_it_is_ending(self, seen: Seen) -> None:
        if (
            seen.run_status is RunStatus.running
            and seen.claimed
            and not seen.ended
            and seen.quiet_seconds < LIMITS.lease_timeout
            and seen.reported is None
            and seen.stop_asked_seconds_ago is None
            and seen.limit_reached is None
        ):
            assert isinstance(judge(seen, LIMITS), Wait | TellLimit)

    @given(ANY_SEEN)
    def test_a_job_that_is_alive_is_not_waited_for_without_end(self, seen: Seen) -> None:
        late = replace(
            seen,
            quiet_seconds=1e6,
            age_seconds=1e6,
            silence_told=True,
            cancel_asked_seconds_ago=1e6,
            pause_asked_seconds_ago=1e6,
            limit_reached=seen.limit_reached or EndReason.time_limit,
            limit_reached_seconds_ago=1e6,
            stop_asked_seconds_ago=None if seen.stop_asked_seconds_ago is None else 1e6,
        )
        if late.job is not None:
            assert not isinstance(judge(late, LIMITS), Wait | TellSilence | TellLimit)
            unlimited = replace(late, limit_reached=None, time_limit_seconds=None, seconds_to_deadline=None)
            assert not isinstance(judge(unlimited, LIMITS), Wait | TellSilence)

    @given(ANY_SEEN)
    def test_a_limit_is_told_once_and_only_of_a_run_that_has_reached_it(self, seen: Seen) -> None:
        if isinstance(verdict := judge(seen, LIMITS), TellLimit):
            assert seen.limit_reached is None
            assert seen.run_status not in TERMINAL | {RunStatus.cancelling}
            late = seen.seconds_to_deadline is not None and seen.seconds_to_deadline <= 0
            assert verdict.reason is (EndReason.deadline_passed if late else EndReason.time_limit)
            assert late or (seen.time_limit_seconds is not None and seen.ran_seconds >= seen.time_limit_seconds)


class TestJudgeAJobThatLives:
    @pytest.mark.parametrize("job", ALIVE)
    def test_a_training_run_is_waited_for(self, job: JobState) -> None:
        assert judge(replace(TRAINING, job=job, quiet_seconds=59.9), LIMITS) == Wait(why="it is alive")

    def test_silence_is_told_once_then_waited_out_then_the_job_is_stopped(self) -> None:
        silent = replace(TRAINING, quiet_seconds=60)
        assert judge(silent, LIMITS) == TellSilence()
        assert judge(replace(silent, silence_told=True), LIMITS) == Wait(why="it is silent")
        assert judge(replace(silent, silence_told=True, quiet_seconds=659), LIMITS) == Wait(why="it is silent")
        assert judge(replace(silent, silence_told=True, quiet_seconds=660), LIMITS) == StopJob(
            why="nothing was heard of it for 660 s"
        )

    def test_a_stop_is_repeated_only_after_a_while(self) -> None:
        stopped = replace(TRAINING, quiet_seconds=700, silence_told=True, stop_asked_seconds_ago=29)
        assert isinstance(judge(stopped, LIMITS), Wait)
        assert isinstance(judge(replace(stopped, stop_asked_seconds_ago=30), LIMITS), StopJob)

    @pytest.mark.parametrize(
        ("seen", "reason"),
        [
            (replace(LAUNCHED, quiet_seconds=180), EndReason.launch_timed_out),
            (replace(CANCELLING, claimed=False), EndReason.cancelled_by_user),
            (replace(PAUSING, claimed=False), EndReason.paused),
            (replace(LAUNCHED, limit_reached=EndReason.deadline_passed), EndReason.deadline_passed),
        ],
    )
    def test_a_job_that_stays_pending_after_it_was_told_to_stop_ends_its_attempt(
        self, seen: Seen, reason: EndReason
    ) -> None:
        pending = replace(seen, job=JobState.pending)
        assert isinstance(judge(pending, LIMITS), StopJob)
        assert isinstance(judge(replace(pending, stop_asked_seconds_ago=29), LIMITS), Wait)
        stuck = replace(pending, stop_asked_seconds_ago=30)
        assert told(judge(stuck, LIMITS)) is reason
        assert judge(replace(stuck, ended=True), LIMITS) == ReleaseSlots()
        assert isinstance(judge(replace(stuck, job=JobState.running), LIMITS), StopJob), "it may have begun"
        assert isinstance(judge(replace(stuck, claimed=True), LIMITS), StopJob), "a trainer holds it"

    def test_a_driver_that_reported_its_end_has_a_lease_to_exit(self) -> None:
        ending = replace(TRAINING, reported=EndReason.completed)
        assert isinstance(judge(ending, LIMITS), Wait)
        assert judge(replace(ending, quiet_seconds=60), LIMITS) == StopJob(why="it reported its end but does not exit")

    @pytest.mark.parametrize("job", ALIVE)
    def test_a_launch_that_nobody_claims_is_stopped_after_its_time(self, job: JobState) -> None:
        late = replace(LAUNCHED, job=job, quiet_seconds=180)
        assert isinstance(judge(replace(late, quiet_seconds=179.9), LIMITS), Wait)
        assert judge(late, LIMITS) == StopJob(why="no trainer claimed it within 180 s")

    def test_a_cancelled_trainer_has_time_to_save(self) -> None:
        assert judge(replace(CANCELLING, cancel_asked_seconds_ago=119), LIMITS) == Wait(why="it has time to save")
        assert isinstance(judge(replace(CANCELLING, cancel_asked_seconds_ago=120), LIMITS), StopJob)

    def test_a_cancelled_run_that_nobody_claimed_is_stopped_at_once(self) -> None:
        assert isinstance(judge(replace(CANCELLING, claimed=False), LIMITS), StopJob)

    def test_a_run_cancelled_twice_is_stopped_at_once(self) -> None:
        assert judge(replace(CANCELLING, cancel_at_once=True), LIMITS) == StopJob(why="it was cancelled twice")

    def test_a_pausing_trainer_has_time_to_save(self) -> None:
        assert judge(replace(PAUSING, pause_asked_seconds_ago=119), LIMITS) == Wait(why="it has time to save")
        assert isinstance(judge(replace(PAUSING, pause_asked_seconds_ago=120), LIMITS), StopJob)

    def test_a_launch_that_is_paused_before_its_claim_is_stopped_at_once(self) -> None:
        assert judge(replace(PAUSING, claimed=False), LIMITS) == StopJob(
            why="it was told to pause before a trainer claimed it"
        )

    def test_a_run_over_its_time_is_told_has_time_to_save_and_is_then_stopped(self) -> None:
        over = replace(TRAINING, ran_seconds=100, time_limit_seconds=100)
        assert judge(over, LIMITS) == TellLimit(reason=EndReason.time_limit)
        assert isinstance(judge(replace(over, ran_seconds=99.9), LIMITS), Wait)
        told_so = replace(over, limit_reached=EndReason.time_limit, limit_reached_seconds_ago=119)
        assert judge(told_so, LIMITS) == Wait(why="it has time to save")
        assert isinstance(judge(replace(told_so, limit_reached_seconds_ago=120), LIMITS), StopJob)

    def test_a_launch_past_its_deadline_is_told_and_stopped(self) -> None:
        past = replace(LAUNCHED, seconds_to_deadline=0.0)
        assert judge(past, LIMITS) == TellLimit(reason=EndReason.deadline_passed)
        assert isinstance(judge(replace(past, limit_reached=EndReason.deadline_passed), LIMITS), StopJob)

    @pytest.mark.parametrize("status", sorted(TERMINAL))
    def test_a_job_of_a_run_that_has_ended_is_stopped(self, status: RunStatus) -> None:
        assert isinstance(judge(replace(TRAINING, run_status=status), LIMITS), StopJob)

    def test_a_job_of_an_attempt_that_has_ended_is_stopped(self) -> None:
        assert isinstance(judge(replace(TRAINING, ended=True), LIMITS), StopJob)


class TestJudgeAJobThatIsOver:
    @pytest.mark.parametrize("job", OVER)
    @pytest.mark.parametrize("reason", [r for r in REASONS if r not in TOLD_TO_GO])
    def test_a_reported_end_counts_at_once(self, job: JobState, reason: EndReason) -> None:
        seen = replace(TRAINING, job=job, reported=reason, reported_detail="rank 1")
        assert judge(seen, LIMITS) == EndAttempt(reason=reason, detail="rank 1")

    @pytest.mark.parametrize("job", OVER)
    def test_without_a_reported_end_the_lease_is_waited_out(self, job: JobState) -> None:
        assert isinstance(judge(replace(TRAINING, job=job, quiet_seconds=59.9), LIMITS), Wait)

    def test_then_it_crashed_or_its_node_was_lost_or_it_hung(self) -> None:
        expired = replace(TRAINING, quiet_seconds=60)
        assert told(judge(replace(expired, job=JobState.ended), LIMITS)) is EndReason.trainer_crashed
        assert told(judge(replace(expired, job=JobState.gone), LIMITS)) is EndReason.node_lost
        for job in OVER:
            assert told(judge(replace(expired, job=job, stop_asked_seconds_ago=5), LIMITS)) is EndReason.trainer_hung

    @pytest.mark.parametrize("reported", [*TOLD_TO_GO, "trainer_crashed"])
    def test_what_a_stopped_silent_trainer_says_last_is_not_the_cause(self, reported: str) -> None:
        seen = replace(TRAINING, job=JobState.ended, stop_asked_seconds_ago=5, reported=EndReason(reported))
        assert told(judge(seen, LIMITS)) is EndReason.trainer_hung

    @pytest.mark.parametrize("reported", ["completed", "data_unreadable", "out_of_memory"])
    def test_but_a_real_cause_or_success_stays(self, reported: str) -> None:
        seen = replace(TRAINING, job=JobState.ended, stop_asked_seconds_ago=5, reported=EndReason(reported))
        assert told(judge(seen, LIMITS)) is EndReason(reported)

    def test_a_trainer_stopped_by_somebody_else_is_no_cancelled_run(self) -> None:
        seen = replace(TRAINING, job=JobState.ended, reported=EndReason.cancelled_by_user)
        assert told(judge(seen, LIMITS)) is EndReason.trainer_crashed

    @pytest.mark.parametrize("job", OVER)
    @pytest.mark.parametrize("claimed", [True, False])
    def test_a_crash_while_cancelling_is_a_cancel(self, job: JobState, claimed: bool) -> None:
        assert told(judge(replace(CANCELLING, job=job, claimed=claimed), LIMITS)) is EndReason.cancelled_by_user

    @pytest.mark.parametrize("job", OVER)
    def test_a_launch_that_was_paused_in_time_ends_as_paused(self, job: JobState) -> None:
        assert told(judge(replace(PAUSING, job=job, claimed=False), LIMITS)) is EndReason.paused

    @pytest.mark.parametrize("job", OVER)
    def test_a_crash_while_pausing_keeps_its_cause_and_waits_out_the_lease(self, job: JobState) -> None:
        assert isinstance(judge(replace(PAUSING, job=job, quiet_seconds=59.9), LIMITS), Wait)
        lost = told(judge(replace(PAUSING, job=job, quiet_seconds=60), LIMITS))
        assert lost in (EndReason.trainer_crashed, EndReason.node_lost)

    @pytest.mark.parametrize("reported", REASONS)
    def test_a_run_told_that_its_time_is_over_ends_by_that_unless_it_had_a_cause_of_its_own(
        self, reported: EndReason
    ) -> None:
        over = replace(TRAINING, job=JobState.ended, limit_reached=EndReason.time_limit)
        assert told(judge(over, LIMITS)) is EndReason.time_limit
        own = reported not in TOLD_TO_GO and not ENDS[reported].retryable
        assert told(judge(replace(over, reported=reported), LIMITS)) is (reported if own else EndReason.time_limit)

    def test_a_job_that_ends_before_its_claim_says_what_ray_said(self) -> None:
        verdict = judge(replace(LAUNCHED, job=JobState.ended, job_message="exit code 1"), LIMITS)
        assert told(verdict) is EndReason.launch_timed_out
        assert "exit code 1" in str(verdict)

    def test_a_launch_that_nobody_could_claim_while_the_api_was_away_counts_as_no_failure(self) -> None:
        gave_up = replace(LAUNCHED, job=JobState.ended, age_seconds=930, quiet_seconds=899)
        away = judge(gave_up, LIMITS)
        assert told(away) is EndReason.launch_timed_out
        assert isinstance(away, EndAttempt)
        assert not away.counts
        assert "the API was away for 31 s" in away.detail
        served = judge(replace(gave_up, quiet_seconds=900), LIMITS)
        assert isinstance(served, EndAttempt)
        assert served.counts

    def test_a_launch_that_never_reached_ray_is_sent_again(self) -> None:
        lost = replace(LAUNCHED, job=JobState.gone, submitted=False, age_seconds=10)
        assert judge(lost, LIMITS) == Submit()
        assert isinstance(judge(replace(lost, age_seconds=9.9), LIMITS), Wait)

    def test_also_after_ray_was_away_for_long(self) -> None:
        lost = replace(LAUNCHED, job=JobState.gone, submitted=False, age_seconds=1e5, quiet_seconds=1e5)
        assert judge(lost, LIMITS) == Submit()

    def test_but_not_where_a_node_of_its_placement_has_left(self) -> None:
        for submitted in (True, False):
            lost = replace(LAUNCHED, job=JobState.gone, submitted=submitted, placement_alive=False)
            assert told(judge(lost, LIMITS)) is EndReason.node_lost

    def test_a_forgotten_launch_is_sent_again_until_its_time_is_up(self) -> None:
        forgotten = replace(LAUNCHED, job=JobState.gone, quiet_seconds=179)
        assert judge(forgotten, LIMITS) == Submit()
        assert told(judge(replace(forgotten, quiet_seconds=180), LIMITS)) is EndReason.launch_timed_out

    @pytest.mark.parametrize("job", OVER)
    def test_an_attempt_that_had_ended_frees_its_slots(self, job: JobState) -> None:
        assert judge(replace(TRAINING, job=job, ended=True), LIMITS) == ReleaseSlots()

    def test_an_open_attempt_of_an_ended_run_ends_for_the_same_reason(self) -> None:
        seen = replace(
            LAUNCHED, job=JobState.ended, run_status=RunStatus.failed, run_reason=EndReason.storage_not_shared
        )
        assert told(judge(seen, LIMITS)) is EndReason.storage_not_shared
