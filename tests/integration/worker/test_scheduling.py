"""What admission reads from real rows: use, quotas, lengths, estimates; and that it acts on what it decides."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from sqlalchemy import text

from api.runs.durations import expected_seconds
from api.runs.status import RunStatus
from api.runs.use import use_by_user
from tests.integration.worker.stage import Stage
from worker.admission_rows import held_slots, waiting_rows
from worker.connections import Connections
from worker.launch import launch


def user_of(stage: Stage, run_id: str) -> int:
    return stage.run(run_id).user_id


class TestUse:
    def test_it_is_derived_from_the_attempts(self, stage: Stage) -> None:
        run_id = stage.submit()
        user = user_of(stage, run_id)
        stage.execute(
            "INSERT INTO attempts (id, run_id, number, submission_id, world_size, gpus_per_worker, placement,"
            " created_at, slots_released_at) VALUES"
            " (:id || 'a', :id, 1, :id || '-1', 4, 1, '{}', now() - interval '2 hours', now() - interval '1 hour'),"
            " (:id || 'b', :id, 2, :id || '-2', 2, 0, '{}', now() - interval '1 hour', NULL),"
            " (:id || 'c', :id, 3, :id || '-3', 8, 1, '{}', now() - interval '99 days', now() - interval '98 days')",
            id=run_id,
        )
        with stage.connections.transaction() as session:
            use = use_by_user(session, 3600)[user]
            started = session.execute(
                text("SELECT extract(epoch FROM now() - date_trunc('month', now()))")
            ).scalar_one()
        hours_of_this_month = max(0.0, min(float(started) / 3600, 2) - 1)
        assert use.gpu_hours_this_month == pytest.approx(4 * hours_of_this_month, abs=0.01)
        assert use.recent_gpus == pytest.approx(4 * (0.5 - 0.25), abs=1e-3)
        assert use.recent_cpus == pytest.approx(2 * (1 - 0.5), abs=1e-3)
        stage.execute("UPDATE attempts SET slots_released_at = now() WHERE run_id = :id", id=run_id)


class TestQuotas:
    def test_a_user_at_their_quota_waits_and_starts_when_it_is_raised(self, stage: Stage) -> None:
        first, second = stage.submit(), stage.submit()
        stage.execute("UPDATE users SET max_workers = 1 WHERE id = :id", id=user_of(stage, first))
        launch(stage.connections)
        assert stage.run(first).status == RunStatus.launching
        assert stage.run(second).wait_reason == "your quota of 1 worker at once is used up"
        stage.execute("UPDATE users SET max_workers = NULL WHERE id = :id", id=user_of(stage, first))
        launch(stage.connections)
        assert stage.run(second).status == RunStatus.launching

    def test_the_installations_quota_holds_for_who_has_none(self, stage: Stage) -> None:
        strict = Connections(stage.settings.model_copy(update={"default_max_workers": 1}))
        first, second = stage.submit(), stage.submit()
        launch(strict)
        assert [stage.run(run_id).status for run_id in (first, second)] == [RunStatus.launching, RunStatus.queued]
        strict.close()


class TestLengths:
    def test_runs_like_one_that_succeeded_are_expected_to_take_as_long(self, stage: Stage) -> None:
        done, like_it, other = stage.submit(), stage.submit(), stage.submit(workers=2)
        stage.execute(
            "INSERT INTO attempts (id, run_id, number, submission_id, world_size, gpus_per_worker, placement,"
            " created_at, slots_released_at)"
            " VALUES (:id || 'a', :id, 1, :id || '-1', 1, 0, '{}', now() - interval '20 minutes', now())",
            id=done,
        )
        stage.execute(
            "UPDATE runs SET status = 'succeeded', reason = 'completed', ended_at = now() WHERE id = :id", id=done
        )
        stage.execute("UPDATE runs SET step = 25, total_steps = 100 WHERE id = :id", id=like_it)
        with stage.connections.transaction() as session:
            lengths = expected_seconds(session)
            expected = {row.queued.run_id: row.queued.expected_seconds for row in waiting_rows(session, lengths)}
        assert expected[like_it] == pytest.approx(0.75 * 1200, abs=1)
        assert expected[other] is None

    def test_who_waits_is_told_when_it_starts_by_the_trainers_estimate(self, stage: Stage) -> None:
        first, second = stage.submit(workers=2), stage.submit(workers=2)
        launch(stage.connections)
        stage.claim(first)
        stage.execute("UPDATE runs SET eta_seconds = 600, status = 'running' WHERE id = :id", id=first)
        launch(stage.connections)
        run = stage.run(second)
        assert run.wait_reason == (f"needs 2 CPU slots, 0 free; reserved: starts when run {first} ends in about 10 min")
        assert run.estimated_start is not None
        assert (run.estimated_start - datetime.now(UTC)).total_seconds() == pytest.approx(600, abs=60)
        told = run.estimated_start
        launch(stage.connections)
        assert stage.run(second).estimated_start == told, "an estimate that hardly moves is left as it is"
        stage.cancel(second)
        assert stage.run(second).estimated_start is None


class TestPreemption:
    def test_a_preempted_run_is_paused_and_only_once(self, stage: Stage) -> None:
        """Needs `api.runs.pause.request_pause`."""
        preempting = Connections(stage.settings.model_copy(update={"preemption": True}))
        low = stage.submit(workers=2)
        launch(preempting)
        stage.claim(low)
        stage.execute("UPDATE runs SET status = 'running' WHERE id = :id", id=low)
        urgent = stage.submit(workers=2, priority=5)
        launch(preempting)
        assert stage.run(low).status == RunStatus.pausing
        assert stage.run(urgent).wait_reason == "needs 2 CPU slots, 0 free; 1 run of lower priority is paused for it"
        launch(preempting)
        assert stage.run(low).status == RunStatus.pausing
        with stage.connections.transaction() as session:
            (held,) = held_slots(session, {})
        assert held.leaving
        assert not held.preemptible
        preempting.close()


class TestManyRows:
    def test_ten_thousand_rows_are_decided_over_and_all_are_told_why_they_wait(self, stage: Stage) -> None:
        run_id = stage.submit(workers=2)
        launch(stage.connections)
        stage.submit(workers=2)
        stage.execute(
            "INSERT INTO runs (id, user_id, name, request, request_sha256, spec, likeness)"
            " SELECT 'many' || n, user_id, 'many', request, request_sha256, spec, likeness"
            " FROM runs, generate_series(1, 9999) AS n WHERE runs.id = :id",
            id=run_id,
        )
        launch(stage.connections)
        with stage.connections.transaction() as session:
            told = session.execute(
                text("SELECT count(*) FROM runs WHERE status = 'queued' AND wait_reason IS NOT NULL")
            ).scalar_one()
        assert told == 10_000
