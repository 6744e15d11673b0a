"""A node that is cut off: Ray's head answers, and for the jobs on that node it cannot."""

from __future__ import annotations

from dataclasses import replace

from api.runs.status import RunStatus
from tests.integration.services import free_port
from tests.integration.worker.stage import Stage
from tests.integration.worker.test_reconcile import LEASE_SECONDS, end_job, training
from trainer.contract.ends import EndReason
from worker.connections import Connections
from worker.launch import launch_waiting
from worker.ray_jobs import Job, RayJobs, RayUnreachable
from worker.reconcile import MOST_UNANSWERED, reconcile


class CutOff(RayJobs):
    """The real Ray, but for the jobs on a node that it cannot reach."""

    lost: frozenset[str] = frozenset()
    asked: list[str]
    """Jobs that it was asked about in vain."""

    def job(self, submission_id: str) -> Job:
        self._ask(submission_id)
        return super().job(submission_id)

    def stop(self, submission_id: str) -> None:
        self._ask(submission_id)
        super().stop(submission_id)

    def log_tail(self, job: Job, lines: int = 200) -> str:
        self._ask(job.submission_id)
        return super().log_tail(job, lines)

    def _ask(self, submission_id: str) -> None:
        if submission_id in self.lost:
            self.asked.append(submission_id)
            raise RayUnreachable(f"no available agent for {submission_id}")


class Partitioned(Connections):
    """A worker's connections to such a cluster."""

    def __init__(self, stage: Stage, *lost: str) -> None:
        super().__init__(stage.settings)
        self.lost = frozenset(lost)
        self.asked: list[str] = []

    def ray(self) -> RayJobs:
        token = self.settings.ray_token
        ray = CutOff(self.settings.ray_address, token.get_secret_value() if token else "")
        ray.lost, ray.asked = self.lost, self.asked
        return ray


def five_attempts_that_ray_does_not_know(stage: Stage) -> list[str]:
    """Their submission ids, the oldest first."""
    runs = [stage.submit() for _ in range(5)]
    with stage.ray() as ray, RayJobs(f"http://127.0.0.1:{free_port()}", "") as dead:
        launched = launch_waiting(stage.connections, dead, [replace(node, cpus=8) for node in ray.nodes()])
    assert [attempt.run_id for attempt in launched] == runs
    stage.wall_clock_moves(11)
    return [attempt.submission_id for attempt in launched]


def test_a_job_that_ray_cannot_stop_does_not_hold_up_the_others(stage: Stage) -> None:
    oldest, newer = training(stage), training(stage)
    connections = Partitioned(stage, f"run-{oldest}-1")
    for run_id in (oldest, newer):
        stage.cancel(run_id, now=True)
    reconcile(connections)
    assert connections.asked == [f"run-{oldest}-1"]
    assert stage.attempt(oldest).stop_requested_at is None
    assert stage.attempt(newer).stop_requested_at is not None
    connections.close()


def test_an_end_does_not_wait_for_a_log_that_cannot_be_read(stage: Stage) -> None:
    run_id = training(stage)
    end_job(stage, run_id)
    stage.api_serves(LEASE_SECONDS)
    connections = Partitioned(stage, f"run-{run_id}-1")
    reconcile(connections)
    assert connections.asked == [f"run-{run_id}-1"]
    attempt = stage.attempt(run_id)
    assert (stage.run(run_id).status, attempt.reason) == (RunStatus.queued, EndReason.trainer_crashed)
    assert attempt.log_tail == stage.jobs()[f"run-{run_id}-1"].message
    connections.close()


def test_a_pass_does_not_ask_for_ever_a_ray_that_answers_nothing(stage: Stage) -> None:
    connections = Partitioned(stage, *five_attempts_that_ray_does_not_know(stage))
    reconcile(connections)
    assert len(connections.asked) == MOST_UNANSWERED < 5
    connections.close()


def test_however_many_are_cut_off_the_others_have_their_turn(stage: Stage) -> None:
    *lost, newest = five_attempts_that_ray_does_not_know(stage)
    assert len(lost) > MOST_UNANSWERED
    connections = Partitioned(stage, *lost)
    for _ in range(100):  # Each pass reaches it with a chance of three in five.
        if newest in stage.jobs():
            break
        reconcile(connections)
    assert list(stage.jobs()) == [newest]
    connections.close()
