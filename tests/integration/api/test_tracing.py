"""Traces from the API to the Celery worker, as a collector receives them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine, text

from api.settings import Settings
from tests.integration.api.stack import SPEC, person
from tests.integration.otlp import Collector
from tests.integration.processes import CELERY, Log, api_process, as_environment, running
from tests.integration.services import valkey_server


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[str]:
    """A broker of the test's own, so that its worker takes its messages only."""
    folder = tmp_path / "valkey"
    folder.mkdir()
    with valkey_server(folder) as url:
        yield url


def test_a_submission_and_its_task_are_one_trace(settings: Settings, engine: Engine, tmp_path: Path) -> None:
    with Collector() as collector:
        tracing = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint,
            "OTEL_BSP_SCHEDULE_DELAY": "200",
            "BASIN_LOG_FORMAT": "json",
        }
        worker_log = Log(tmp_path / "celery.log")
        command = [*CELERY, "worker", "-c", "1", "--without-gossip", "--without-mingle"]
        with (
            api_process(settings, tmp_path, **tracing) as (url, log),
            running(command, as_environment(settings, **tracing, TMPDIR=str(tmp_path)), worker_log.path),
        ):
            headers = person("max") | {"Cookie": "basin_session=a-cookie"}
            answer = httpx.post(f"{url}/api/v1/runs?token=a-query", headers=headers, json={"spec": SPEC}, timeout=30)
            assert answer.status_code == 201, answer.text
            for path in ("/readyz", "/metrics", "/api/v1/stream?topics=none"):
                httpx.get(f"{url}{path}", timeout=30)
            spans = collector.until("POST /api/v1/runs", "task launch")
            line = worker_log.until("nothing_launched", run=answer.json()["id"])
    post, task = spans["POST /api/v1/runs"], spans["task launch"]
    assert (post.service, task.service) == ("basin-api", "basin-worker")
    assert task.trace_id == post.trace_id
    assert task.parent_id == post.span_id
    assert (line["trace_id"], line["span_id"]) == (task.trace_id, task.span_id)
    assert log.until("request", method="POST")["trace_id"] == post.trace_id
    with engine.connect() as connection:
        kept = connection.execute(text("SELECT traceparent FROM runs")).scalar_one()
    assert kept.startswith(f"00-{post.trace_id}-{post.span_id}-")
    names = {span.name for span in collector.spans}
    assert names == {"POST /api/v1/runs", "task launch"}, "what is asked for all the time is not traced"
    assert post.attributes["http.route"] == "/api/v1/runs"
    told = str(collector.spans)
    for secret in ("a-cookie", "a-query", headers["Authorization"]):
        assert secret not in told


@pytest.mark.parametrize("module", ["api.app", "worker.tasks", "trainer.main"])
def test_without_an_endpoint_nothing_of_it_is_loaded(module: str, settings: Settings) -> None:
    """What makes and sends spans; the rest of the SDK is loaded by the Redis client where it is there."""
    code = (
        f"import {module}, sys\n"
        "from api.telemetry.traces import start_tracing\n"
        "start_tracing('service')\n"
        "assert not {'opentelemetry.sdk.trace', 'opentelemetry.exporter.otlp'} & set(sys.modules), 'it is loaded'"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=as_environment(settings), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_where_the_packages_are_missing_the_remedy_is_said(settings: Settings) -> None:
    code = (
        "import sys\n"
        "sys.modules['opentelemetry.exporter.otlp.proto.http.trace_exporter'] = None\n"
        "from api.app import create_app_from_environment\n"
        "create_app_from_environment()"
    )
    environment = as_environment(settings, OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1")
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "install basin[tracing], or unset it" in done.stderr
    assert "Traceback" not in done.stderr
