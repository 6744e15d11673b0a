"""The Celery worker's share of a diagnosis, by a Ray and rows that are lists here."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Self, cast

import pytest

from api.db.operations_tables import DiagnosisPart
from api.doctor.diagnosis import probe_name
from trainer.contract.diagnosis import MARKER
from trainer.contract.findings import Finding, ok
from worker import doctor, reconcile
from worker.connections import Connections
from worker.ray_jobs import Job, JobState, Node, RayJobs, RayUnreachable

WELL = MARKER + json.dumps([Finding(part="node host-a", check="disk", **ok("room").model_dump()).model_dump()])


@dataclass
class Ray:
    """Jobs by id, what the ended ones printed, and what was asked."""

    known: dict[str, Job] = field(default_factory=dict)
    away: bool = False
    asked: list[str] = field(default_factory=list)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def jobs(self) -> dict[str, Job]:
        self.asked.append("jobs")
        if self.away:
            raise RayUnreachable("no answer")
        return self.known

    def log_tail(self, job: Job) -> str:
        self.asked.append(f"log {job.submission_id}")
        return WELL

    def delete(self, submission_id: str) -> None:
        self.asked.append(f"delete {submission_id}")


@dataclass
class Stage:
    """What stands in for the connections of a Celery process."""

    rows: Sequence[DiagnosisPart]
    ray_server: Ray
    alone: bool = True

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        yield SimpleNamespace(scalars=lambda _: SimpleNamespace(all=lambda: self.rows))

    @contextmanager
    def only_one(self, _: str) -> Iterator[bool]:
        yield self.alone

    def ray(self) -> Ray:
        return self.ray_server


def part(number: int) -> DiagnosisPart:
    return DiagnosisPart(diagnosis_id="d", part=f"node host-{number}", submission_id=f"doctor-d-{number}")


def job(submission_id: str, state: JobState, **more: Any) -> Job:
    return Job(submission_id=submission_id, state=state, **more)


def collected(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Finding]]:
    stored: dict[str, list[Finding]] = {}
    monkeypatch.setattr(doctor, "store", lambda _, __, part, findings: stored.update({part: findings}))
    doctor.collect_findings(cast(Connections, stage), "d")
    return stored


class TestCollecting:
    def test_what_a_job_printed_is_taken_in_once_it_has_ended(self, monkeypatch: pytest.MonkeyPatch) -> None:
        ray = Ray({"doctor-d-1": job("doctor-d-1", JobState.ended), "doctor-d-2": job("doctor-d-2", JobState.running)})
        stored = collected(Stage([part(1), part(2)], ray), monkeypatch)
        assert {name: [each.verdict for each in findings] for name, findings in stored.items()} == {
            "node host-1": ["ok"]
        }
        assert ray.asked == ["jobs", "log doctor-d-1", "delete doctor-d-1"]

    @pytest.mark.parametrize("known", [{}, {"doctor-d-1": job("doctor-d-1", JobState.gone)}])
    def test_a_job_that_ray_does_not_know_may_still_be_on_its_way(
        self, known: dict[str, Job], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Its row is committed before the job is handed over, by another process."""
        assert collected(Stage([part(1)], Ray(known)), monkeypatch) == {}

    def test_beside_another_one_ray_is_not_asked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        ray = Ray({"doctor-d-1": job("doctor-d-1", JobState.ended)})
        assert collected(Stage([part(1)], ray, alone=False), monkeypatch) == {}
        assert ray.asked == []

    def test_a_ray_that_is_away_is_asked_once_however_many_nodes_there_are(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ray = Ray(away=True)
        assert collected(Stage([part(n) for n in range(50)], ray), monkeypatch) == {}
        assert ray.asked == ["jobs"]

    def test_after_its_time_no_further_log_is_asked_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(doctor, "COLLECT_SECONDS", 0.0)
        ray = Ray({"doctor-d-1": job("doctor-d-1", JobState.ended)})
        assert collected(Stage([part(1)], ray), monkeypatch) == {}
        assert ray.asked == ["jobs"]


def node(node_id: str, host: str) -> Node:
    return Node(node_id=node_id, host=host, cpus=4, gpus=0, alive=True)


class TestNames:
    def test_a_machine_is_known_by_its_name(self) -> None:
        nodes = [node("a" * 56, "host-a"), node("b" * 56, "host-b")]
        assert [name for _, name in doctor.part_names(nodes)] == ["node host-a", "node host-b"]

    def test_two_of_one_name_are_two_parts(self) -> None:
        nodes = [node("a" * 56, "host"), node("b" * 56, "host"), node("c" * 56, "other")]
        assert [name for _, name in doctor.part_names(nodes)] == [
            f"node host ({'a' * 12})", f"node host ({'b' * 12})", "node other",
        ]  # fmt: skip

    def test_names_fit_their_column_and_a_file_however_long_a_host_is(self) -> None:
        names = [name for _, name in doctor.part_names([node("a" * 56, "h" * 400), node("b" * 56, "h" * 400)])]
        column: Any = DiagnosisPart.__table__.c.part.type
        assert all(len(name) <= column.length for name in names)
        files = {probe_name(name) for name in names}
        assert len(files) == 2
        assert all(len(name) <= 255 for name in files)


class TestForgetting:
    def test_jobs_by_which_nodes_were_looked_at_do_not_stay_for_ever(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(reconcile, "stack_mark", lambda _: "ours")
        hour = reconcile.JOBS_KEPT_SECONDS
        jobs = [
            job("doctor-1-a", JobState.ended, ended_at=1.0),
            job("doctor-2-a", JobState.ended, ended_at=2 * hour),
            job("doctor-3-a", JobState.running),
            job("somebodys", JobState.ended, ended_at=1.0),
        ]
        monkeypatch.setattr("worker.reconcile.time.time", lambda: 2 * hour + 60)
        ray = Ray()
        reconcile._clear(cast(Connections, SimpleNamespace(settings=None)), cast(RayJobs, ray), jobs, set())
        assert ray.asked == ["delete doctor-1-a"]
