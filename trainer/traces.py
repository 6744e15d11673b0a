"""A Ray job's part of its run's trace: the job, its claim. Nothing is loaded for a run without a trace.

A trace is never worth an attempt: where spans cannot be made or sent, that is one line in the log.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from trainer.logs import SERVICE

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

    from trainer.contract.reports import LaunchPayload

log = logging.getLogger(__name__)

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
HEADER = "traceparent"
FLUSH_MILLISECONDS = 1_000
"""For the last spans: Ray kills three seconds after its SIGTERM."""


@dataclass(frozen=True)
class JobTrace:
    """The span of the job and what makes others; both are null where nothing is traced."""

    provider: TracerProvider | None = None
    job: Span | None = None

    @classmethod
    def begin(cls, payload: LaunchPayload, began_at: datetime) -> JobTrace:
        endpoint = _endpoint(payload)
        if payload.traceparent is None or endpoint is None:
            return cls()
        try:
            provider = _provider(endpoint)
        except Exception as error:
            log.warning("This job is not traced: %s: %s (install basin[tracing])", type(error).__name__, error)
            return cls()
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        job = provider.get_tracer("basin").start_span(
            "job",
            context=TraceContextTextMapPropagator().extract({HEADER: payload.traceparent}),
            start_time=int(began_at.timestamp() * 1e9),
            attributes={"basin.attempt_id": payload.attempt_id},
        )
        return cls(provider, job)

    @contextmanager
    def part(self, name: str) -> Iterator[str | None]:
        """A part of the job, on any thread; gives its `traceparent` to be sent along."""
        if self.provider is None or self.job is None:
            yield None
            return
        from opentelemetry import trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        tracer = self.provider.get_tracer("basin")
        with tracer.start_as_current_span(name, context=trace.set_span_in_context(self.job)):
            carrier: dict[str, str] = {}
            TraceContextTextMapPropagator().inject(carrier)
            yield carrier.get(HEADER)

    def end(self, *, failed: bool) -> None:
        """Ends the job's span and sends what is left."""
        if self.provider is None or self.job is None:
            return
        from opentelemetry.trace import StatusCode

        if failed:
            self.job.set_status(StatusCode.ERROR)
        self.job.end()
        self.provider.force_flush(FLUSH_MILLISECONDS)


UNTRACED = JobTrace()


def _endpoint(payload: LaunchPayload) -> str | None:
    """Where spans go: the whole address. What the node's environment says comes first, for it may reach the collector
    by another way than the Celery worker does."""
    whole, base = (os.environ.get(name) for name in ENDPOINTS)
    if whole:
        return whole
    base = base or payload.otlp_endpoint
    return f"{base.rstrip('/')}/v1/traces" if base else None


def _provider(endpoint: str) -> TracerProvider:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: SERVICE}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
    return provider
