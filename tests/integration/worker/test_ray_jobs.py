"""What Basin relies on in Ray's job API, against a real Ray."""

from __future__ import annotations

import secrets

import pytest

from tests.integration.services import free_port
from tests.integration.worker.conftest import SLOTS, RayServer
from tests.integration.worker.stage import Stage, delete_for_good, until
from worker.ray_jobs import JobRequest, JobState, RayJobs, RayRefused, RayUnreachable, translated


def request(entrypoint: str) -> JobRequest:
    return JobRequest(
        submission_id=f"run-{secrets.token_hex(6)}-1",
        entrypoint=entrypoint,
        env_vars={"BASIN_LAUNCH": '{"a": "b"}'},
        metadata={"run_id": "r", "stack": "s"},
    )


class TestAJobsLife:
    def test_it_is_pending_or_running_then_ended_then_gone(self, stage: Stage) -> None:
        asked = request('echo "$BASIN_LAUNCH"; sleep 120')
        with stage.ray() as ray:
            assert ray.job(asked.submission_id).state is JobState.gone
            ray.submit(asked)
            job = ray.job(asked.submission_id)
            assert job.state in (JobState.pending, JobState.running)
            assert job.metadata == asked.metadata
            assert asked.submission_id in ray.jobs()
            stage.until_job(asked.submission_id, JobState.running)
            until(lambda: '{"a": "b"}' in ray.log_tail(ray.job(asked.submission_id)), what="the log")
            ray.stop(asked.submission_id)
            over = stage.until_job(asked.submission_id, JobState.ended)
            assert over.ended_at is not None
            ray.stop(asked.submission_id)
            delete_for_good(ray, asked.submission_id)
            assert ray.job(asked.submission_id).state is JobState.gone
            assert asked.submission_id not in ray.jobs()

    def test_a_repeated_id_counts_as_submitted_and_leaves_the_first_job_alone(self, stage: Stage) -> None:
        asked = request("sleep 120")
        with stage.ray() as ray:
            ray.submit(asked)
            ray.submit(asked)
            stage.until_job(asked.submission_id, JobState.running)
            ray.submit(asked)
            assert ray.job(asked.submission_id).state is JobState.running
            assert asked.submission_id in ray.jobs()

    def test_a_failed_job_says_why_and_keeps_its_last_lines(self, stage: Stage) -> None:
        asked = request("for i in 1 2 3; do echo line $i; done; exit 3")
        with stage.ray() as ray:
            ray.submit(asked)
            job = stage.until_job(asked.submission_id, JobState.ended)
            assert "exit code 3" in job.message
            # Ray's own line about the entrypoint may come between: it is written beside the job.
            tail = ray.log_tail(job, lines=2).splitlines()
            assert len(tail) == 2
            assert "line 3" in tail

    def test_what_is_gone_can_be_stopped_and_deleted_without_complaint(self, stage: Stage) -> None:
        with stage.ray() as ray:
            ray.stop("run-never-1")
            ray.delete("run-never-1")

    def test_a_job_that_lives_cannot_be_deleted(self, stage: Stage) -> None:
        asked = request("sleep 120")
        with stage.ray() as ray:
            ray.submit(asked)
            with pytest.raises(RayUnreachable, match="non-terminal state"):
                ray.delete(asked.submission_id)

    def test_a_request_that_is_wrong_in_itself_is_refused(self, stage: Stage) -> None:
        wrong = JobRequest(submission_id="run-x-1", entrypoint=["no", "text"], env_vars={}, metadata={})  # type: ignore[arg-type]
        with stage.ray() as ray, pytest.raises(RayRefused, match="entrypoint must be a string"):
            ray.submit(wrong)


class TestNodes:
    def test_a_node_shows_all_it_offers_under_its_name(self, ray_server: RayServer) -> None:
        with RayJobs(ray_server.address, ray_server.token) as ray:
            (node,) = ray.nodes()
        assert (node.host, node.cpus, node.gpus, node.alive) == ("host-a", SLOTS, 0, True)


class TestNoAnswer:
    @pytest.mark.parametrize("token", ["", "wrong"])
    def test_a_wrong_token_is_told_apart_from_a_job_that_is_gone(self, ray_server: RayServer, token: str) -> None:
        with RayJobs(ray_server.address, token) as ray:
            with pytest.raises(RayUnreachable, match="set BASIN_RAY_TOKEN"):
                ray.job("run-x-1")
            with pytest.raises(RayUnreachable, match="set BASIN_RAY_TOKEN"):
                ray.submit(request("true"))

    def test_a_closed_port_says_what_to_do(self) -> None:
        with (
            RayJobs(f"http://127.0.0.1:{free_port()}", "") as ray,
            pytest.raises(RayUnreachable, match="start it or mend BASIN_RAY_ADDRESS"),
        ):
            ray.nodes()


def test_every_status_of_ray_is_translated_and_an_unknown_one_frees_nothing() -> None:
    from ray.job_submission import JobStatus

    terminal = {status.value for status in JobStatus if status.is_terminal()}
    assert {status.value for status in JobStatus if translated(status.value).is_over} == terminal
    assert not translated("RESTARTING").is_over
