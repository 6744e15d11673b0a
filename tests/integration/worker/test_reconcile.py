"""What happens to a run when its trainer, Ray or the API goes away at each point of an attempt."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from api.db.tables import ClusterNode, Heartbeat, MetricPoint
from api.runs.status import RunStatus
from tests.integration.services import free_port
from tests.integration.worker.stage import CRASHES, ENDS, Stage
from trainer.contract.ends import EndReason
from trainer.contract.reports import CheckpointReport, EndedReport, MetricsReport, Writer
from worker.connections import Connections
from worker.launch import job_request, launch
from worker.ray_jobs import JobRequest, JobState
from worker.reconcile import reconcile, reconcile_if_due, reconcile_run

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LEASE_SECONDS = 60
SILENT_STOP_SECONDS = 600


def ended(reason: EndReason, seq: int = 1, detail: str = "") -> EndedReport:
    return EndedReport(seq=seq, at=NOW, reason=reason, detail=detail)


def metrics(seq: int, step: int) -> MetricsReport:
    return MetricsReport(seq=seq, at=NOW, step=step, values={"train_loss": 1.0 / step})


def training(stage: Stage, **resources: Any) -> str:
    """A run that a trainer has claimed, under a Ray job that sleeps."""
    run_id = stage.submit(**resources)
    launch(stage.connections)
    stage.until_job(f"run-{run_id}-1", JobState.running)
    stage.claim(run_id)
    assert stage.run(run_id).status == RunStatus.running
    return run_id


def end_job(stage: Stage, run_id: str) -> None:
    submission_id = stage.attempt(run_id).submission_id
    with stage.ray() as ray:
        ray.stop(submission_id)
    stage.until_job(submission_id, JobState.ended)


def points(stage: Stage, run_id: str) -> list[int]:
    with stage.connections.transaction() as session:
        found = select(MetricPoint.step).where(MetricPoint.run_id == run_id).order_by(MetricPoint.step)
        return list(session.scalars(found))


class TestAReportedEnd:
    @pytest.mark.parametrize(
        ("reason", "status"),
        [
            (EndReason.completed, RunStatus.succeeded),
            (EndReason.loss_not_finite, RunStatus.failed),
            (EndReason.trainer_crashed, RunStatus.queued),
        ],
    )
    def test_it_counts_once_the_job_is_over_without_waiting_for_the_lease(
        self, stage: Stage, reason: EndReason, status: RunStatus
    ) -> None:
        run_id = training(stage)
        stage.report(run_id, Writer.driver, ended(reason, detail="rank 1 of 2"))
        reconcile(stage.connections)
        assert stage.run(run_id).status == RunStatus.running, "its slots are not free yet"
        end_job(stage, run_id)
        reconcile(stage.connections)
        attempt = stage.attempt(run_id)
        assert (attempt.reason, attempt.detail) == (reason, "rank 1 of 2")
        assert attempt.ended_at is not None
        assert attempt.slots_released_at is not None
        assert stage.run(run_id).status == status

    def test_reports_left_on_the_storage_are_taken_in_before_the_attempt_ends(self, stage: Stage) -> None:
        run_id = training(stage)
        stage.report(run_id, Writer.rank0, metrics(1, 1))
        checkpoint = stage.settings.storage / "runs" / run_id / "checkpoints" / "step-00000003"
        checkpoint.mkdir(parents=True)
        path = stage.leave_unsent(run_id, Writer.rank0, metrics(2, 2), metrics(3, 3))
        path.rename(checkpoint / path.name)
        stage.leave_unsent(
            run_id,
            Writer.rank0,
            metrics(3, 3),
            CheckpointReport(seq=4, at=NOW, step=3, path=f"runs/{run_id}/checkpoints/step-00000003", size_bytes=1),
        )
        stage.leave_unsent(run_id, Writer.driver, ended(EndReason.completed))
        end_job(stage, run_id)
        reconcile(stage.connections)
        assert points(stage, run_id) == [1, 2, 3]
        assert stage.run(run_id).status == RunStatus.succeeded
        assert len(stage.events(run_id, "checkpoint")) == 1

    def test_a_torn_or_foreign_line_among_them_is_no_obstacle(self, stage: Stage) -> None:
        run_id = training(stage)
        path = stage.leave_unsent(run_id, Writer.rank0, metrics(1, 1), metrics(2, 2))
        with path.open("a") as file:
            file.write(f'{{"attempt_id":"{"f" * 24}","writer":"rank0",' + metrics(3, 3).model_dump_json()[1:] + "\n")
            file.write('{"attempt_id": "')
        stage.leave_unsent(run_id, Writer.driver, ended(EndReason.completed))
        end_job(stage, run_id)
        reconcile(stage.connections)
        assert points(stage, run_id) == [1, 2]
        assert stage.run(run_id).status == RunStatus.succeeded


class TestADeadTrainer:
    def test_its_lease_is_waited_out_then_a_new_attempt_follows_the_back_off(self, stage: Stage) -> None:
        run_id = training(stage)
        end_job(stage, run_id)
        stage.leave_unsent(run_id, Writer.rank0, metrics(1, 1))
        for _ in range(3):
            reconcile(stage.connections)
            stage.api_serves(LEASE_SECONDS / 3 - 1)
        assert stage.run(run_id).status == RunStatus.running
        assert points(stage, run_id) == [1]
        stage.api_serves(5)
        reconcile(stage.connections)
        run = stage.run(run_id)
        assert (run.status, run.failures) == (RunStatus.queued, 1)
        assert stage.end_reason(run_id, 1) is EndReason.trainer_crashed
        assert run.queued_at > run.created_at, "one whose trainer crashes holds nobody up"
        assert "waiting" in (stage.attempt(run_id).log_tail or "")
        assert len(stage.attempts(run_id)) == 1, "it backs off"
        stage.wall_clock_moves(2)
        reconcile(stage.connections)
        assert [attempt.number for attempt in stage.attempts(run_id)] == [1, 2]

    def test_a_forgotten_job_is_a_lost_node(self, stage: Stage) -> None:
        run_id = training(stage)
        stage.forget_job(stage.attempt(run_id).submission_id)
        reconcile(stage.connections)
        assert stage.run(run_id).status == RunStatus.running
        stage.api_serves(LEASE_SECONDS)
        reconcile(stage.connections)
        assert stage.end_reason(run_id, 1) is EndReason.node_lost
        run = stage.run(run_id)
        assert (run.status, run.queued_at) == (RunStatus.queued, run.created_at), "it keeps its place"

    def test_an_outage_of_the_api_relaunches_nothing_however_long(self, stage: Stage) -> None:
        run_id = training(stage)
        stage.wall_clock_moves(1_000_000)
        reconcile(stage.connections)
        assert stage.run(run_id).status == RunStatus.running
        assert len(stage.attempts(run_id)) == 1
        assert stage.events(run_id, "silent") == []

    def test_the_budget_of_failures_without_a_newer_checkpoint_ends_the_run(self, stage: Stage) -> None:
        stage.jobs_do(CRASHES)
        run_id = stage.submit()
        for number in (1, 2, 3):
            stage.wall_clock_moves(61)
            stage.api_serves(61)
            launch(stage.connections)
            stage.until_job(f"run-{run_id}-{number}", JobState.ended)
            reconcile(stage.connections)
        run = stage.run(run_id)
        assert (run.status, run.reason) == (RunStatus.failed, EndReason.launch_timed_out)
        assert "exit code 3" in (run.detail or "")
        assert "no module named torch" in (stage.attempt(run_id).log_tail or "")

    def test_silence_under_a_running_job_is_told_once_and_ends_in_a_stop(self, stage: Stage) -> None:
        run_id = training(stage)
        stage.api_serves(LEASE_SECONDS)
        reconcile(stage.connections)
        reconcile(stage.connections)
        assert len(stage.events(run_id, "silent")) == 1
        assert stage.run(run_id).status == RunStatus.running
        stage.api_serves(SILENT_STOP_SECONDS)
        reconcile(stage.connections)
        assert stage.attempt(run_id).stop_requested_at is not None
        stage.until_job(f"run-{run_id}-1", JobState.ended)
        assert len(stage.attempts(run_id)) == 1, "none before the old job is over"
        reconcile(stage.connections)
        assert stage.end_reason(run_id, 1) is EndReason.trainer_hung
        assert stage.run(run_id).status == RunStatus.queued

    def test_a_trainer_heard_of_again_that_falls_silent_again_is_told_again(self, stage: Stage) -> None:
        run_id = training(stage)
        for seq in (1, 2):
            stage.api_serves(LEASE_SECONDS)
            reconcile(stage.connections)
            stage.report(run_id, Writer.rank0, metrics(seq, seq))
            reconcile(stage.connections)
        assert len(stage.events(run_id, "silent")) == 2


class TestALaunchThatNobodyClaims:
    def test_it_is_stopped_after_its_time_and_tried_again(self, stage: Stage) -> None:
        run_id = stage.submit()
        launch(stage.connections)
        stage.until_job(f"run-{run_id}-1", JobState.running)
        stage.api_serves(stage.settings.launch_timeout_seconds - 1)
        reconcile(stage.connections)
        assert stage.attempt(run_id).stop_requested_at is None
        stage.api_serves(1)
        reconcile(stage.connections)
        stage.until_job(f"run-{run_id}-1", JobState.ended)
        reconcile(stage.connections)
        assert stage.end_reason(run_id, 1) is EndReason.launch_timed_out
        assert stage.run(run_id).status == RunStatus.queued

    def test_a_job_that_ray_forgot_is_submitted_again_under_its_id(self, stage: Stage) -> None:
        run_id = stage.submit()
        launch(stage.connections)
        stage.forget_job(f"run-{run_id}-1")
        reconcile(stage.connections)
        assert stage.until_job(f"run-{run_id}-1", JobState.running)
        assert len(stage.attempts(run_id)) == 1


class TestCancelling:
    def test_a_launch_that_nobody_claimed_is_stopped_at_once(self, stage: Stage) -> None:
        run_id = stage.submit()
        launch(stage.connections)
        stage.until_job(f"run-{run_id}-1", JobState.running)
        stage.cancel(run_id)
        reconcile_run(stage.connections, run_id)
        stage.until_job(f"run-{run_id}-1", JobState.ended)
        reconcile_run(stage.connections, run_id)
        run = stage.run(run_id)
        assert (run.status, run.reason) == (RunStatus.cancelled, EndReason.cancelled_by_user)

    def test_a_launch_whose_job_never_begins_is_cancelled_though_ray_cannot_stop_it(
        self, stage: Stage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("worker.ray_jobs.DRIVER_RESOURCE", {"driver": 1e6})  # more than any node has
        run_id = stage.submit()
        launch(stage.connections)
        stage.cancel(run_id)
        reconcile_run(stage.connections, run_id)
        assert stage.attempt(run_id).stop_requested_at is not None
        reconcile(stage.connections)
        assert stage.jobs()[f"run-{run_id}-1"].state is JobState.pending
        assert stage.run(run_id).status == RunStatus.cancelling
        stage.wall_clock_moves(30)
        reconcile(stage.connections)
        assert stage.run(run_id).status == RunStatus.cancelled
        assert stage.attempt(run_id).slots_released_at is not None

    def test_a_trainer_has_its_grace_then_its_job_is_stopped(self, stage: Stage) -> None:
        run_id = training(stage)
        stage.cancel(run_id)
        stage.wall_clock_moves(stage.settings.cancel_grace_seconds - 60)
        reconcile(stage.connections)
        assert stage.attempt(run_id).stop_requested_at is None
        stage.wall_clock_moves(60)
        reconcile(stage.connections)
        stage.until_job(f"run-{run_id}-1", JobState.ended)
        reconcile(stage.connections)
        assert stage.run(run_id).status == RunStatus.cancelled

    @pytest.mark.parametrize(
        ("reason", "status"),
        [
            (EndReason.cancelled_by_user, RunStatus.cancelled),
            (EndReason.completed, RunStatus.succeeded),
            (EndReason.trainer_crashed, RunStatus.cancelled),
        ],
    )
    def test_the_run_is_cancelled_unless_it_had_completed(
        self, stage: Stage, reason: EndReason, status: RunStatus
    ) -> None:
        run_id = training(stage)
        stage.cancel(run_id)
        stage.report(run_id, Writer.driver, ended(reason))
        end_job(stage, run_id)
        reconcile(stage.connections)
        assert stage.run(run_id).status == status
        assert len(stage.attempts(run_id)) == 1

    def test_a_crash_while_cancelling_is_a_cancel_without_waiting_for_the_lease(self, stage: Stage) -> None:
        run_id = training(stage)
        stage.cancel(run_id)
        end_job(stage, run_id)
        reconcile(stage.connections)
        assert stage.run(run_id).status == RunStatus.cancelled


class TestThePass:
    def test_while_ray_is_away_nothing_is_decided_and_the_rest_still_beats(self, stage: Stage) -> None:
        run_id = training(stage)
        reconcile(stage.connections)
        end_job(stage, run_id)
        stage.api_serves(1e6)
        away = Connections(stage.settings.model_copy(update={"ray_address": f"http://127.0.0.1:{free_port()}"}))
        reconcile(away)
        reconcile_run(away, run_id)
        away.close()
        assert stage.run(run_id).status == RunStatus.running
        assert stage.attempt(run_id).ended_at is None
        with stage.connections.transaction() as session:
            beats = {row.part: row for row in session.scalars(select(Heartbeat))}
        assert beats["reconcile"].at > beats["ray"].at
        assert "did not answer" in (beats["ray"].detail or "")

    def test_only_one_pass_at_a_time(self, stage: Stage) -> None:
        with stage.connections.only_one("reconcile") as mine:
            assert mine
            assert not reconcile(stage.connections)
        assert reconcile(stage.connections)

    def test_of_messages_that_piled_up_one_makes_a_pass(self, stage: Stage) -> None:
        unhurried = Connections(stage.settings.model_copy(update={"reconcile_seconds": 3600}))
        assert [reconcile_if_due(unhurried) for _ in range(5)] == [True, False, False, False, False]
        stage.execute("UPDATE heartbeats SET at = at - interval '1801 s'")
        assert [reconcile_if_due(unhurried) for _ in range(2)] == [True, False]
        stage.execute("UPDATE heartbeats SET at = at + interval '40 days'")
        assert reconcile_if_due(unhurried), "a time that has not come is no reason to wait for it"
        unhurried.close()

    def test_slots_are_free_again_when_the_job_is_over_and_the_next_run_starts(self, stage: Stage) -> None:
        first, second = training(stage, workers=2), stage.submit(workers=2)
        stage.report(first, Writer.driver, ended(EndReason.completed))
        reconcile(stage.connections)
        assert stage.run(second).status == RunStatus.queued
        end_job(stage, first)
        reconcile(stage.connections)
        assert stage.run(second).status == RunStatus.launching

    def test_a_job_of_ours_that_no_attempt_stands_behind_is_stopped_and_others_are_left_alone(
        self, stage: Stage
    ) -> None:
        run_id = training(stage)
        mine = job_request(stage.settings, launched_like(stage, run_id, "run-stray-1"))
        other = JobRequest(submission_id="run-other-1", entrypoint="sleep 120", env_vars={}, metadata={"stack": "x"})
        with stage.ray() as ray:
            ray.submit(mine)
            ray.submit(other)
        stage.until_job("run-stray-1", JobState.running)
        stage.until_job("run-other-1", JobState.running)
        assert set(stage.jobs()) == {f"run-{run_id}-1", "run-stray-1"}
        reconcile(stage.connections)
        stage.until_job("run-stray-1", JobState.ended)
        stage.until_job("run-other-1", JobState.running, within=1)
        assert stage.jobs()[f"run-{run_id}-1"].state is JobState.running

    def test_jobs_long_over_are_forgotten_by_ray(self, stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
        stage.jobs_do(ENDS)
        run_id = stage.submit()
        launch(stage.connections)
        stage.until_job(f"run-{run_id}-1", JobState.ended)
        reconcile(stage.connections)
        assert f"run-{run_id}-1" in stage.jobs()
        monkeypatch.setattr("worker.reconcile.JOBS_KEPT_SECONDS", 0.0)
        reconcile(stage.connections)
        assert f"run-{run_id}-1" not in stage.jobs()

    def test_nodes_are_kept_for_the_api_and_for_a_while_after_they_left(self, stage: Stage) -> None:
        stage.execute(
            "INSERT INTO cluster_nodes (node_id, host, cpus, gpus, alive) VALUES"
            " ('old', 'host-a', 2, 0, true), ('away', 'host-b', 8, 4, true)"
        )
        reconcile(stage.connections)
        assert known(stage) == [("host-a", 2, True), ("host-b", 8, False)]
        stage.wall_clock_moves(86_000)
        reconcile(stage.connections)
        assert known(stage) == [("host-a", 2, True), ("host-b", 8, False)]
        stage.wall_clock_moves(500)
        reconcile(stage.connections)
        assert known(stage) == [("host-a", 2, True)]

    def test_one_attempt_that_cannot_be_handled_does_not_hold_up_the_others(self, stage: Stage) -> None:
        broken, fine = training(stage), training(stage)
        for run_id in (broken, fine):
            stage.report(run_id, Writer.driver, ended(EndReason.completed))
            end_job(stage, run_id)
        unreadable = stage.leave_unsent(broken, Writer.rank0, metrics(1, 1))
        unreadable.unlink()
        unreadable.mkdir()
        reconcile(stage.connections)
        assert stage.run(fine).status == RunStatus.succeeded
        assert stage.run(broken).status == RunStatus.running
        Path(unreadable).rmdir()
        reconcile(stage.connections)
        assert stage.run(broken).status == RunStatus.succeeded


def known(stage: Stage) -> list[tuple[str, float, bool]]:
    with stage.connections.transaction() as session:
        rows = session.scalars(select(ClusterNode).order_by(ClusterNode.host, func.length(ClusterNode.node_id)))
        return [(row.host, row.cpus, row.alive) for row in rows]


def launched_like(stage: Stage, run_id: str, submission_id: str) -> Any:
    from worker.launch import Launched

    attempt = stage.attempt(run_id)
    return Launched(attempt_id=attempt.id, run_id=run_id, number=attempt.number, submission_id=submission_id)
