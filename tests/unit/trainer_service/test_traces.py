"""A job's part of a trace, as a collector receives it; and that a trace is never worth an attempt."""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime

import pytest

from tests.integration.otlp import Collector
from trainer.contract.reports import LaunchPayload
from trainer.traces import UNTRACED, JobTrace

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
NOW = datetime.now(UTC)


@pytest.fixture(autouse=True)
def _without_endpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)


def payload(endpoint: str | None, *, traced: bool = True) -> LaunchPayload:
    return LaunchPayload(
        api_url="http://127.0.0.1:1", attempt_id="a1", launch_code="c", storage="/s", otlp_endpoint=endpoint,
        traceparent=f"00-{TRACE}-{SPAN}-01" if traced else None,
    )  # fmt: skip


def test_the_job_goes_on_with_its_runs_trace_and_hands_it_on() -> None:
    with Collector() as collector:
        trace = JobTrace.begin(payload(collector.endpoint), NOW)
        with trace.part("claim") as traceparent:
            pass
        trace.end(failed=True)
        spans = collector.until("job", "claim", within=30)
    assert {span.trace_id for span in spans.values()} == {TRACE}
    assert spans["job"].parent_id == SPAN
    assert spans["claim"].parent_id == spans["job"].span_id
    assert traceparent is not None
    assert traceparent.split("-")[1:3] == [TRACE, spans["claim"].span_id]
    assert (spans["job"].service, spans["job"].attributes["basin.attempt_id"]) == ("basin-trainer", "a1")


def test_the_nodes_own_endpoint_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    with Collector() as near, Collector() as far:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", near.endpoint)
        JobTrace.begin(payload(far.endpoint), NOW).end(failed=False)
        near.until("job", within=30)
        assert far.spans == []


@pytest.mark.parametrize(("endpoint", "traced"), [(None, True), ("http://127.0.0.1:1", False)])
def test_without_a_trace_or_an_endpoint_nothing_is_made(endpoint: str | None, traced: bool) -> None:
    trace = JobTrace.begin(payload(endpoint, traced=traced), NOW)
    assert trace == UNTRACED
    with trace.part("claim") as traceparent:
        assert traceparent is None
    trace.end(failed=False)


def test_missing_packages_are_a_line_in_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with caplog.at_level(logging.WARNING):
        assert JobTrace.begin(payload("http://127.0.0.1:1"), NOW) == UNTRACED
    assert "install basin[tracing]" in caplog.text
