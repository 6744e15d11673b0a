"""From `queued` to a Ray job: once, in order, and repaired when half of it is lost."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from sqlalchemy import func

from api.runs.status import RunStatus
from tests.integration.services import free_port
from tests.integration.worker.stage import CRASHES, Stage
from trainer.contract.ends import EndReason
from trainer.contract.reports import LaunchPayload
from worker.connections import Connections
from worker.launch import Launched, job_request, launch, launch_for, launch_waiting
from worker.pace import Pace
from worker.ray_jobs import JobState, RayJobs
from worker.reconcile import reconcile


def without_ray(stage: Stage) -> Connections:
    """The same stack while Ray does not answer."""
    return Connections(stage.settings.model_copy(update={"ray_address": f"http://127.0.0.1:{free_port()}"}))


class TestLaunch:
    def test_a_message_delivered_a_hundred_times_at_once_gives_one_attempt_and_one_job(self, stage: Stage) -> None:
        run_id = stage.submit(workers=2)
        many = Connections(stage.settings, pool_size=8)  # Whoever waits for the lock holds one.
        with ThreadPoolExecutor(100) as pool:
            started = list(pool.map(lambda _: launch(many), range(100)))
        many.close()
        assert sum(len(each) for each in started) == 1
        attempt = stage.attempt(run_id)
        assert (attempt.number, attempt.submission_id, attempt.world_size) == (1, f"run-{run_id}-1", 2)
        assert attempt.submitted_at is not None
        assert stage.run(run_id).status == RunStatus.launching
        assert list(stage.jobs()) == [attempt.submission_id]

    def test_runs_start_in_the_order_they_came_and_the_rest_is_told_why_it_waits(self, stage: Stage) -> None:
        first, large, small = stage.submit(workers=1), stage.submit(workers=2), stage.submit(workers=1)
        launch(stage.connections)
        launch(stage.connections)
        assert stage.run(first).status == RunStatus.launching
        assert stage.run(large).status == stage.run(small).status == RunStatus.queued
        assert stage.run(large).wait_reason == "needs 2 CPU slots, 1 free on host-a"
        assert stage.run(small).wait_reason == "behind 1 earlier run"

    def test_a_higher_priority_starts_first_and_a_change_of_it_counts_at_the_next_launch(self, stage: Stage) -> None:
        running = stage.submit(workers=2)
        launch(stage.connections)
        first, urgent, second = stage.submit(), stage.submit(workers=2, priority=1), stage.submit()
        launch(stage.connections)
        assert stage.run(running).status == RunStatus.launching
        assert stage.run(urgent).wait_reason == "needs 2 CPU slots, 0 free"
        assert stage.run(first).wait_reason == "behind 1 run of higher priority"
        assert stage.run(second).wait_reason == "behind 2 earlier runs, 1 of them of higher priority"
        stage.set_priority(second, 2)
        stage.set_attempt(running, slots_released_at=func.now())
        launch(stage.connections)
        assert [stage.run(run_id).status for run_id in (second, urgent, first)] == [
            RunStatus.launching, RunStatus.queued, RunStatus.queued,
        ]  # fmt: skip
        assert stage.run(urgent).wait_reason == "needs 2 CPU slots, 1 free on host-a"

    def test_what_can_never_fit_fails_with_its_reason(self, stage: Stage) -> None:
        run_id = stage.submit(workers=3)
        launch(stage.connections)
        run = stage.run(run_id)
        assert (run.status, run.reason) == (RunStatus.failed, EndReason.never_fits)
        assert run.detail == "it needs 3 CPU slots, all 1 known node together have 2"

    def test_a_run_that_backs_off_waits_and_holds_nobody_back(self, stage: Stage) -> None:
        failed, next_run = stage.submit(workers=2), stage.submit(workers=2)
        stage.execute("UPDATE runs SET not_before = now() + interval '1 hour' WHERE id = :id", id=failed)
        launch(stage.connections)
        assert stage.run(failed).status == RunStatus.queued
        assert stage.run(next_run).status == RunStatus.launching

    def test_the_job_carries_the_code_to_claim_the_attempt_and_no_other_secret(self, stage: Stage) -> None:
        settings = stage.settings.model_copy(update={"trainer_python": "/path with space/python"})
        attempt = Launched(attempt_id="a" * 24, run_id="r1", number=3, submission_id="run-r1-3")
        request = job_request(settings, attempt)
        assert request.entrypoint == "'/path with space/python' -m trainer.main"
        assert list(request.env_vars) == ["BASIN_LAUNCH"]
        payload = LaunchPayload.model_validate_json(request.env_vars["BASIN_LAUNCH"])
        assert (payload.attempt_id, payload.storage) == ("a" * 24, str(settings.storage))
        for secret in (settings.secret.get_secret_value(), settings.database_url, settings.broker_url):
            assert secret not in str(request)


class TestMessages:
    def test_one_for_a_run_that_a_pass_has_seen_costs_no_pass(self, stage: Stage) -> None:
        away, pace = without_ray(stage), Pace(sleep=lambda seconds: None)
        running, waiting = stage.submit(workers=2), stage.submit(workers=2)
        assert [each.run_id for each in launch_for(stage.connections, running, pace)] == [running]
        stage.set_attempt(running, slots_released_at=func.now())
        for seen in (running, waiting, "0" * 12):
            assert launch_for(away, seen, pace) == []
        assert stage.run(waiting).wait_reason == "needs 2 CPU slots, 0 free", "a pass would have said that Ray is away"
        away.close()

    def test_one_for_a_run_that_nobody_has_seen_starts_whatever_can_start(self, stage: Stage) -> None:
        pace = Pace(sleep=lambda seconds: None)
        running, first = stage.submit(workers=2), stage.submit(workers=2)
        launch(stage.connections)
        stage.set_attempt(running, slots_released_at=func.now())
        assert [each.run_id for each in launch_for(stage.connections, stage.submit(), pace)] == [first]

    def test_one_for_a_change_of_priority_counts_though_the_run_was_seen(self, stage: Stage) -> None:
        pace = Pace(sleep=lambda seconds: None)
        running, first, second = (stage.submit(workers=2) for _ in range(3))
        launch(stage.connections)
        stage.set_attempt(running, slots_released_at=func.now())
        stage.set_priority(second, 2)
        assert [each.run_id for each in launch_for(stage.connections, second, pace)] == [second]
        assert stage.run(first).status == RunStatus.queued


class TestLaunchWhileRayIsAway:
    def test_the_run_stays_queued_and_says_so_then_starts(self, stage: Stage) -> None:
        away = without_ray(stage)
        run_id = stage.submit()
        assert launch(away) == []
        assert reconcile(away)
        run = stage.run(run_id)
        assert (run.status, run.wait_reason) == (RunStatus.queued, "Ray cannot be reached")
        assert reconcile(stage.connections)
        assert stage.run(run_id).status == RunStatus.launching
        assert stage.run(run_id).wait_reason is None
        away.close()

    def test_a_crash_between_the_row_and_the_job_is_repaired_under_the_same_id(self, stage: Stage) -> None:
        run_id = stage.submit()
        with stage.ray() as ray, RayJobs(f"http://127.0.0.1:{free_port()}", "") as dead:
            (launched,) = launch_waiting(stage.connections, dead, ray.nodes())
        assert stage.attempt(run_id).submitted_at is None
        assert stage.jobs() == {}
        reconcile(stage.connections)
        assert stage.jobs() == {}, "the submission may be on its way"
        stage.wall_clock_moves(11)
        reconcile(stage.connections)
        assert list(stage.jobs()) == [launched.submission_id]
        assert [attempt.number for attempt in stage.attempts(run_id)] == [1]
        assert stage.attempt(run_id).submitted_at is not None

    def test_a_job_that_was_submitted_by_a_process_that_died_is_noted(self, stage: Stage) -> None:
        run_id = stage.submit()
        launch(stage.connections)
        stage.set_attempt(run_id, submitted_at=None)
        reconcile(stage.connections)
        assert stage.attempt(run_id).submitted_at is not None
        assert len(stage.jobs()) == 1

    def test_a_placement_on_a_node_that_left_is_made_anew(self, stage: Stage) -> None:
        run_id = stage.submit()
        with stage.ray() as ray, RayJobs(f"http://127.0.0.1:{free_port()}", "") as dead:
            elsewhere = [replace(node, node_id="f" * 56, host="host-z") for node in ray.nodes()]
            launch_waiting(stage.connections, dead, elsewhere)
        stage.wall_clock_moves(11)
        reconcile(stage.connections)
        assert stage.end_reason(run_id, 1) is EndReason.node_lost
        stage.wall_clock_moves(2)
        reconcile(stage.connections)
        (second,) = stage.attempts(run_id)[1:]
        assert stage.until_job(second.submission_id, JobState.running)


class TestLaunchWhileTheApiIsAway:
    def test_nothing_starts_that_no_trainer_could_claim_and_the_run_says_so_then_starts(self, stage: Stage) -> None:
        run_id = stage.submit()
        stage.api_is_away(31)
        assert launch(stage.connections) == []
        assert reconcile(stage.connections)
        run = stage.run(run_id)
        assert (run.status, stage.attempts(run_id)) == (RunStatus.queued, [])
        assert run.wait_reason == "the API does not answer, so no trainer could claim the run"
        stage.api_serves(1)
        launch(stage.connections)
        assert stage.run(run_id).status == RunStatus.launching

    def test_a_trainer_that_waited_for_it_in_vain_is_no_failure_of_its_run(self, stage: Stage) -> None:
        stage.jobs_do(CRASHES)
        stage.api_serves(1)
        run_id = stage.submit(limits={"max_failures": 0})
        launch(stage.connections)
        stage.until_job(f"run-{run_id}-1", JobState.ended)
        stage.wall_clock_moves(900)
        reconcile(stage.connections)
        run = stage.run(run_id)
        assert (run.status, run.failures) == (RunStatus.queued, 0)
        assert stage.end_reason(run_id, 1) is EndReason.launch_timed_out
        assert "the API was away" in (stage.attempt(run_id).detail or "")
        stage.wall_clock_moves(2)
        launch(stage.connections)
        stage.until_job(f"run-{run_id}-2", JobState.ended)
        stage.api_serves(900)
        reconcile(stage.connections)
        assert stage.run(run_id).status == RunStatus.failed, "this time it was served"
