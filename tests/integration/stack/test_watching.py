"""What an operator sees of a run on a real stack: one trace from its submission to its claim, logs, numbers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.integration.faults.specs import digits_run
from tests.integration.otlp import Collector
from tests.integration.running_stack import RunningStack, until


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as made:
        yield made


@pytest.fixture
def watched(collector: Collector, tmp_path: Path) -> Iterator[RunningStack]:
    settings = {
        "BASIN_LOG_FORMAT": "json",
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint,
        "OTEL_BSP_SCHEDULE_DELAY": "200",
    }
    running = RunningStack(tmp_path / "home", settings=settings)
    try:
        yield running.up()
    finally:
        running.close()


def test_a_run_can_be_followed_from_its_submission_into_its_job(watched: RunningStack, collector: Collector) -> None:
    headers = {"Authorization": f"Bearer {watched.token}", "X-Request-ID": "followed"}
    answer = httpx.post(
        f"{watched.api_url}/api/v1/runs", headers=headers, json={"spec": digits_run(steps=3)}, timeout=30
    )
    assert answer.status_code == 201, answer.text
    run_id = answer.json()["id"]
    run = f"{watched.api_url}/api/v1/runs/{run_id}"

    def has_ended() -> bool:
        return httpx.get(run, headers=headers, timeout=30).json()["status"] in ("succeeded", "failed", "cancelled")

    until(has_ended, "the run has ended", 300, watched.tail)
    assert httpx.get(run, headers=headers, timeout=30).json()["status"] == "succeeded"

    # One trace: the request, the hand-over to Ray, the job, its claim, and the request that the claim is.
    posted, claimed = "POST /api/v1/runs", "POST /api/v1/attempts/{attempt_id}/claim"
    spans = collector.until(posted, "submit job", "job", "claim", claimed)
    assert {span.trace_id for span in spans.values()} == {spans[posted].trace_id}
    for name, parent in ((claimed, "claim"), ("claim", "job"), ("job", "submit job")):
        assert spans[name].parent_id == spans[parent].span_id, name
    parents = {span.span_id: span.name for span in collector.spans}
    # Whichever came first: the message of the submission, or a pass of reconcile that found the run queued.
    assert parents[spans["submit job"].parent_id] in (posted, "task launch")
    assert spans["submit job"].attributes["basin.run"] == run_id
    assert {spans[name].service for name in ("job", "claim")} == {"basin-trainer"}

    # The trainer's logs are JSON on the storage and words for whoever reads them through the API.
    folder = watched.home / "storage" / "runs" / run_id / "attempts" / "1" / "log"
    for process in ("driver", "rank-0", "rank-1"):
        lines = [json.loads(line) for line in (folder / f"{process}.log").read_text().splitlines() if line[0] == "{"]
        assert lines, process
        ids = {"run": run_id, "attempt": 1, "process": process, "service": "basin-trainer"}
        assert all(ids.items() <= line.items() for line in lines)
    shown = httpx.get(f"{run}/attempts/1/log", headers=headers, params={"source": "driver"}, timeout=30).json()["lines"]
    assert any(line.endswith(f"INFO Attempt 1 of run {run_id} is claimed.") for line in shown)

    page = httpx.get(f"{watched.api_url}/metrics", timeout=30).text
    numbers = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }
    assert numbers["basin_admissions_total",] == numbers["basin_runs_ended_total", "completed"] == 1
    assert numbers["basin_canary_round_trip_seconds",] > 0
    assert sum(value for key, value in numbers.items() if key[0] == "basin_slots" and key[-1] == "free") == 2
    assert numbers["basin_metric_points_total",] > 0
    checks = httpx.get(f"{watched.api_url}/readyz", timeout=30).json()["checks"]
    assert {check["name"] for check in checks} == {
        "database", "migrations", "broker", "storage", "disk space", "celery worker", "beat", "reconcile", "ray",
    }  # fmt: skip
