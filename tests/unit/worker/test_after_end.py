"""What the end of an attempt means for its run: retry by the budget, pause, or an end with its reason."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.runs.status import MOVES, TERMINAL, RunStatus
from tests.unit.worker.test_decisions import LIMITS, REASONS, TOLD_TO_GO
from trainer.contract.ends import ENDS, EndReason
from worker.decisions import Failures, FinishRun, LeaveRun, PauseRun, RetryRun, after_end

NO_FAILURES = Failures(count=0, at_step=0)


class TestAfterEnd:
    @pytest.mark.parametrize(("status", "reason"), list(product(RunStatus, EndReason)))
    def test_every_status_and_reason_has_a_consequence_that_the_status_moves_allow(
        self, status: RunStatus, reason: EndReason
    ) -> None:
        did = after_end(status, reason, NO_FAILURES, newest_checkpoint_step=0, limits=LIMITS)
        match did:
            case LeaveRun():
                assert status in TERMINAL | {RunStatus.queued, RunStatus.paused}
            case RetryRun():
                assert RunStatus.queued in MOVES[status]
                assert ENDS[reason].retryable or reason in TOLD_TO_GO
            case PauseRun():
                assert status is RunStatus.pausing
            case FinishRun(to=to, reason=why):
                assert ENDS[why].status == to
                # A claim and its end may be taken in together: the run is then still `launching`.
                assert to in MOVES[status] or (status, to) == (RunStatus.launching, RunStatus.succeeded)

    @pytest.mark.parametrize("reason", [r for r in REASONS if ENDS[r].fault in ("spec", "data")])
    def test_what_only_a_person_can_mend_fails_at_once(self, reason: EndReason) -> None:
        did = after_end(RunStatus.running, reason, NO_FAILURES, newest_checkpoint_step=0, limits=LIMITS)
        assert did == FinishRun(to=RunStatus.failed, reason=reason)

    def test_while_cancelling_everything_but_completion_is_a_cancel(self) -> None:
        for reason in EndReason:
            did = after_end(RunStatus.cancelling, reason, NO_FAILURES, newest_checkpoint_step=0, limits=LIMITS)
            completed = reason is EndReason.completed
            assert did == FinishRun(
                to=RunStatus.succeeded if completed else RunStatus.cancelled,
                reason=EndReason.completed if completed else EndReason.cancelled_by_user,
            )

    def test_a_crash_while_pausing_is_a_pause(self) -> None:
        did = after_end(RunStatus.pausing, EndReason.node_lost, NO_FAILURES, newest_checkpoint_step=0, limits=LIMITS)
        assert did == PauseRun()

    def test_failures_without_a_newer_checkpoint_use_up_the_budget_with_growing_back_off(self) -> None:
        failures, waits = NO_FAILURES, []
        while True:
            did = after_end(
                RunStatus.running, EndReason.trainer_crashed, failures, newest_checkpoint_step=0, limits=LIMITS
            )
            if not isinstance(did, RetryRun):
                break
            failures = did.failures
            waits.append(did.back_off_seconds)
        assert waits == [1, 2]
        assert did == FinishRun(to=RunStatus.failed, reason=EndReason.trainer_crashed)

    def test_a_newer_checkpoint_refills_the_budget(self) -> None:
        used_up = Failures(count=2, at_step=100)
        did = after_end(RunStatus.running, EndReason.node_lost, used_up, newest_checkpoint_step=101, limits=LIMITS)
        assert did == RetryRun(failures=Failures(count=1, at_step=101), back_off_seconds=1)
        did = after_end(RunStatus.running, EndReason.node_lost, used_up, newest_checkpoint_step=100, limits=LIMITS)
        assert did == FinishRun(to=RunStatus.failed, reason=EndReason.node_lost)

    def test_an_end_that_does_not_count_leaves_the_budget_as_it_is(self) -> None:
        used_up = Failures(count=LIMITS.max_failures, at_step=7)
        did = after_end(
            RunStatus.launching, EndReason.launch_timed_out, used_up, newest_checkpoint_step=7, limits=LIMITS,
            counts=False,
        )  # fmt: skip
        assert did == RetryRun(failures=used_up, back_off_seconds=1)

    def test_a_budget_of_zero_fails_at_the_first(self) -> None:
        none = replace(LIMITS, max_failures=0)
        for checkpoint in (0, 50):
            did = after_end(
                RunStatus.running, EndReason.node_lost, NO_FAILURES, newest_checkpoint_step=checkpoint, limits=none
            )
            assert did == FinishRun(to=RunStatus.failed, reason=EndReason.node_lost)

    @given(st.integers(0, 10**9))
    def test_back_off_is_bounded(self, count: int) -> None:
        patient = replace(LIMITS, max_failures=10**10)
        did = after_end(
            RunStatus.running,
            EndReason.node_lost,
            Failures(count=count, at_step=0),
            newest_checkpoint_step=0,
            limits=patient,
        )
        assert isinstance(did, RetryRun)
        assert 1 <= did.back_off_seconds <= 60
