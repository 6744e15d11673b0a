"""Pauses, second cancels, limits and removals, as the worker carries them out under a real Ray."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from api.runs.status import RunStatus
from api.runs.storage import run_folder
from tests.integration.worker.stage import Stage
from tests.integration.worker.test_reconcile import end_job, ended, metrics, training
from trainer.contract.ends import EndReason
from trainer.contract.reports import CheckpointReport, Writer
from worker.launch import launch
from worker.purge import purge_deleted
from worker.ray_jobs import JobState
from worker.reconcile import reconcile

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def texts(stage: Stage, run_id: str) -> list[str]:
    return stage.events(run_id, "attempt")


def is_stopped(stage: Stage, run_id: str) -> bool:
    return stage.attempt(run_id).stop_requested_at is not None


def count(stage: Stage, table: str) -> int:
    with stage.connections.transaction() as session:
        number: int = session.execute(text(f"SELECT count(*) FROM {table}")).scalar_one()
    return number


class TestPause:
    def test_a_trainer_that_saved_leaves_its_run_paused_its_slots_free_and_a_resume_starts_the_next(
        self, stage: Stage
    ) -> None:
        run_id = training(stage, workers=2)
        waiting = stage.submit(workers=2)
        stage.pause(run_id)
        reconcile(stage.connections)
        assert stage.run(run_id).status == RunStatus.pausing
        assert not is_stopped(stage, run_id), "it has time to save"
        stage.report(run_id, Writer.driver, ended(EndReason.paused))
        end_job(stage, run_id)
        reconcile(stage.connections)
        assert (stage.run(run_id).status, stage.end_reason(run_id, 1)) == (RunStatus.paused, EndReason.paused)
        assert stage.run(run_id).failures == 0
        assert stage.run(waiting).status == RunStatus.launching, "its slots were given out in the same pass"
        stage.cancel(waiting, now=True)
        reconcile(stage.connections)
        stage.until_job(f"run-{waiting}-1", JobState.ended)
        reconcile(stage.connections)
        assert len(stage.attempts(run_id)) == 1, "a paused run starts nothing"
        assert stage.resume(run_id)
        launch(stage.connections)
        assert [attempt.number for attempt in stage.attempts(run_id)] == [1, 2]

    def test_a_launch_that_nobody_claimed_is_paused_by_stopping_its_job(self, stage: Stage) -> None:
        run_id = stage.submit()
        launch(stage.connections)
        stage.until_job(f"run-{run_id}-1", JobState.running)
        stage.pause(run_id)
        reconcile(stage.connections)
        assert stage.run(run_id).status == RunStatus.pausing
        stage.until_job(f"run-{run_id}-1", JobState.ended)
        reconcile(stage.connections)
        attempt = stage.attempt(run_id)
        assert (stage.run(run_id).status, attempt.reason) == (RunStatus.paused, EndReason.paused)
        assert attempt.slots_released_at is not None

    def test_who_does_not_save_in_time_is_stopped_and_the_run_stands_at_its_last_checkpoint(self, stage: Stage) -> None:
        run_id = training(stage)
        stage.pause(run_id)
        stage.wall_clock_moves(stage.settings.cancel_grace_seconds - 60)
        reconcile(stage.connections)
        assert not is_stopped(stage, run_id)
        stage.wall_clock_moves(60)
        reconcile(stage.connections)
        assert "did not end within 120 s of being told to pause" in texts(stage, run_id)[-1]
        stage.until_job(f"run-{run_id}-1", JobState.ended)
        stage.api_serves(60)
        reconcile(stage.connections)
        assert stage.run(run_id).status == RunStatus.paused

    def test_a_crash_while_pausing_is_a_pause_and_no_failure(self, stage: Stage) -> None:
        run_id = training(stage)
        stage.pause(run_id)
        stage.report(run_id, Writer.driver, ended(EndReason.trainer_crashed))
        end_job(stage, run_id)
        reconcile(stage.connections)
        run = stage.run(run_id)
        assert (run.status, run.failures) == (RunStatus.paused, 0)
        assert stage.end_reason(run_id, 1) is EndReason.trainer_crashed

    def test_one_that_completes_meanwhile_has_succeeded(self, stage: Stage) -> None:
        run_id = training(stage)
        stage.pause(run_id)
        stage.report(run_id, Writer.driver, ended(EndReason.completed))
        end_job(stage, run_id)
        reconcile(stage.connections)
        assert stage.run(run_id).status == RunStatus.succeeded

    def test_a_preempted_run_goes_back_to_its_place_by_itself(self, stage: Stage) -> None:
        run_id = training(stage, workers=2)
        queued_at = stage.run(run_id).queued_at
        later = stage.submit(workers=2)
        assert stage.pause(run_id, preempted=True)
        assert not stage.pause(run_id, preempted=True), "once"
        assert not stage.pause(later, preempted=True), "what waits holds nothing"
        stage.report(run_id, Writer.driver, ended(EndReason.paused))
        end_job(stage, run_id)
        reconcile(stage.connections)
        run = stage.run(run_id)
        assert (run.queued_at, run.requeues, run.failures) == (queued_at, False, 0)
        assert run.status == RunStatus.launching, "it was before the other in the queue"
        assert stage.run(later).status == RunStatus.queued
        assert stage.events(run_id, "status")[-2] == "The run waits again, to go on from its last checkpoint."


class TestCancelTwice:
    def test_no_time_to_save_is_given(self, stage: Stage) -> None:
        run_id = training(stage)
        stage.cancel(run_id)
        reconcile(stage.connections)
        assert not is_stopped(stage, run_id)
        stage.cancel(run_id, now=True)
        reconcile(stage.connections)
        assert texts(stage, run_id)[-1] == "The Ray job was told to stop: it was cancelled twice."
        stage.until_job(f"run-{run_id}-1", JobState.ended)
        reconcile(stage.connections)
        assert stage.run(run_id).status == RunStatus.cancelled


def ran(stage: Stage, run_id: str, seconds: float) -> None:
    stage.execute(
        "UPDATE attempts SET claimed_at = claimed_at - make_interval(secs => :s) WHERE run_id = :id",
        s=seconds,
        id=run_id,
    )


def in_an_hour() -> dict[str, Any]:
    return {"deadline": (datetime.now(UTC) + timedelta(hours=1)).isoformat()}


class TestLimits:
    def test_a_run_over_its_time_limit_saves_and_fails_by_it(self, stage: Stage) -> None:
        run_id = training(stage, limits={"time_limit_seconds": 100})
        ran(stage, run_id, 90)
        reconcile(stage.connections)
        assert stage.run(run_id).limit_reached is None
        ran(stage, run_id, 11)
        reconcile(stage.connections)
        reconcile(stage.connections)
        assert stage.run(run_id).status == RunStatus.running
        assert not is_stopped(stage, run_id), "it has time to save"
        assert stage.events(run_id, "limit") == ["The time limit is used up; the trainer saves a checkpoint and ends."]
        path = f"runs/{run_id}/checkpoints/step-00000003"
        stage.report(
            run_id, Writer.rank0, metrics(1, 3), CheckpointReport(seq=2, at=NOW, step=3, path=path, size_bytes=1)
        )
        stage.report(run_id, Writer.driver, ended(EndReason.cancelled_by_user))
        end_job(stage, run_id)
        reconcile(stage.connections)
        run = stage.run(run_id)
        assert (run.status, run.reason, len(stage.attempts(run_id))) == (RunStatus.failed, EndReason.time_limit, 1)
        assert count(stage, "checkpoints") == 1

    def test_the_time_of_all_attempts_counts_and_waiting_does_not(self, stage: Stage) -> None:
        run_id = training(stage, limits={"time_limit_seconds": 100})
        ran(stage, run_id, 60)
        stage.report(run_id, Writer.driver, ended(EndReason.node_lost))
        end_job(stage, run_id)
        reconcile(stage.connections)
        stage.execute(
            "UPDATE attempts SET claimed_at = claimed_at - interval '1 h', ended_at = ended_at - interval '1 h'"
        )
        stage.wall_clock_moves(5)
        reconcile(stage.connections)
        stage.until_job(f"run-{run_id}-2", JobState.running)
        stage.claim(run_id)
        reconcile(stage.connections)
        assert stage.run(run_id).limit_reached is None
        stage.execute("UPDATE attempts SET claimed_at = claimed_at - interval '41 s' WHERE number = 2")
        reconcile(stage.connections)
        assert stage.run(run_id).limit_reached == EndReason.time_limit

    def test_time_after_the_last_sign_of_life_does_not_count(self, stage: Stage) -> None:
        """An outage over a weekend: the attempt trained for ten seconds of it."""
        run_id = training(stage, limits={"time_limit_seconds": 100})
        stage.execute(
            "UPDATE attempts SET claimed_at = now() - interval '2 days 10 s',"
            " lease_renewed_at = now() - interval '2 days'"
        )
        reconcile(stage.connections)
        assert stage.run(run_id).limit_reached is None

    def test_who_does_not_save_in_time_is_stopped_and_starts_no_new_attempt(self, stage: Stage) -> None:
        run_id = training(stage, limits={"time_limit_seconds": 100})
        ran(stage, run_id, 101)
        reconcile(stage.connections)
        stage.wall_clock_moves(stage.settings.cancel_grace_seconds)
        reconcile(stage.connections)
        stage.until_job(f"run-{run_id}-1", JobState.ended)
        reconcile(stage.connections)
        run = stage.run(run_id)
        assert (run.status, run.reason, len(stage.attempts(run_id))) == (RunStatus.failed, EndReason.time_limit, 1)

    @pytest.mark.parametrize("paused", [True, False])
    def test_a_run_that_waits_or_stands_paused_past_its_deadline_fails(self, stage: Stage, paused: bool) -> None:
        busy = stage.submit(workers=2)
        launch(stage.connections)
        run_id, other = stage.submit(limits=in_an_hour()), stage.submit()
        if paused:
            stage.pause(run_id)
        reconcile(stage.connections)
        assert stage.run(run_id).status == (RunStatus.paused if paused else RunStatus.queued)
        stage.wall_clock_moves(3600)
        reconcile(stage.connections)
        run = stage.run(run_id)
        assert (run.status, run.reason) == (RunStatus.failed, EndReason.deadline_passed)
        assert stage.run(other).status == RunStatus.queued
        assert stage.run(busy).status == RunStatus.launching

    def test_a_launch_past_its_deadline_is_stopped_and_fails(self, stage: Stage) -> None:
        run_id = stage.submit(limits=in_an_hour())
        launch(stage.connections)
        stage.until_job(f"run-{run_id}-1", JobState.running)
        stage.wall_clock_moves(3600)
        reconcile(stage.connections)
        reconcile(stage.connections)
        stage.until_job(f"run-{run_id}-1", JobState.ended)
        reconcile(stage.connections)
        run = stage.run(run_id)
        assert (run.status, run.reason) == (RunStatus.failed, EndReason.deadline_passed)

    def test_a_run_may_tolerate_fewer_failures_than_the_setting(self, stage: Stage) -> None:
        run_id = training(stage, limits={"max_failures": 0})
        stage.report(run_id, Writer.driver, ended(EndReason.trainer_crashed))
        end_job(stage, run_id)
        reconcile(stage.connections)
        run = stage.run(run_id)
        assert (run.status, run.reason) == (RunStatus.failed, EndReason.trainer_crashed)


class TestPurge:
    def over(self, stage: Stage) -> tuple[str, Path]:
        run_id = training(stage)
        folder = stage.settings.storage / "runs" / run_id / "checkpoints" / "step-00000001"
        folder.mkdir(parents=True)
        (folder / "model.safetensors").write_bytes(b"weights")
        stage.report(run_id, Writer.rank0, metrics(1, 1), metrics(2, 2), metrics(3, 3))
        stage.report(run_id, Writer.driver, ended(EndReason.completed))
        end_job(stage, run_id)
        reconcile(stage.connections)
        assert stage.run(run_id).status == RunStatus.succeeded
        return run_id, folder.parents[1]

    def test_files_and_rows_go_when_the_time_is_over_and_not_before(
        self, stage: Stage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("worker.purge.POINTS_AT_ONCE", 2)
        (kept, kept_folder), (run_id, folder) = self.over(stage), self.over(stage)
        stage.delete(run_id)
        stage.wall_clock_moves(24 * 3600 - 60)
        assert purge_deleted(stage.connections) == []
        assert folder.is_dir()
        stage.wall_clock_moves(60)
        assert purge_deleted(stage.connections) == [run_id]
        assert not folder.exists()
        assert kept_folder.is_dir()
        assert purge_deleted(stage.connections) == []
        assert stage.run(kept).status == RunStatus.succeeded
        assert (count(stage, "runs"), count(stage, "attempts"), count(stage, "metric_points")) == (1, 1, 3)
        with stage.connections.transaction() as session:
            owners = session.execute(text("SELECT DISTINCT run_id FROM events")).scalars().all()
        assert owners == [kept]

    def test_a_pass_that_dies_between_files_and_rows_is_made_up_for(self, stage: Stage) -> None:
        run_id, folder = self.over(stage)
        stage.delete(run_id)
        stage.wall_clock_moves(24 * 3600)
        stage.execute("UPDATE runs SET purged_at = now()")
        folder.rename(folder.with_name("gone"))
        assert purge_deleted(stage.connections) == [run_id]
        assert count(stage, "runs") == 0

    def test_nothing_outside_of_the_runs_own_folder_is_touched(self, stage: Stage, tmp_path: Path) -> None:
        run_id, folder = self.over(stage)
        outside = tmp_path / "outside"
        outside.mkdir()
        (outside / "precious").write_text("kept")
        (folder / "link").symlink_to(outside)
        stage.delete(run_id)
        stage.wall_clock_moves(24 * 3600)
        assert purge_deleted(stage.connections) == [run_id]
        assert (outside / "precious").read_text() == "kept"

        second, folder = self.over(stage)
        folder.rename(folder.with_name("moved"))
        folder.symlink_to(outside)
        stage.delete(second)
        stage.wall_clock_moves(24 * 3600)
        assert purge_deleted(stage.connections) == []
        assert (outside / "precious").read_text() == "kept"
        for bad in ("..", ".", "", "a/../..", "../x", "a" * 17, "A"):
            assert run_folder(stage.settings.storage, bad) is None
