"""OpenTelemetry traces, where OTEL_EXPORTER_OTLP_ENDPOINT says where they go. Otherwise nothing of it is loaded.

A trace follows one run: the request that submitted it, the Celery task, the hand-over to Ray, the job, its claim. Its
`traceparent` (W3C) travels in the message to Celery, in the run's row and in the job's environment. The SDK reads its
other variables (OTEL_EXPORTER_OTLP_HEADERS, OTEL_TRACES_SAMPLER, ...) by itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
HEADER = "traceparent"

_provider: TracerProvider | None = None


def wanted() -> bool:
    """Whether the environment asks for traces."""
    off = os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    return not off and any(os.environ.get(name) for name in ENDPOINTS)


def start_tracing(service: str) -> None:
    """For entry points, once in a process and after any fork: its sender is a thread. Nothing where none are wanted.

    Exits with the remedy where traces are wanted and the packages are not there.
    """
    global _provider
    if _provider is not None or not wanted():
        return
    try:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise SystemExit(
            f"{ENDPOINTS[0]} asks for traces, but {error.name} is not installed: install basin[tracing], or unset it"
        ) from None
    name = os.environ.get("OTEL_SERVICE_NAME") or service
    _provider = TracerProvider(resource=Resource.create({SERVICE_NAME: name}))
    _provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(_provider)


def stop_tracing() -> None:
    """Sends what is left, for a few seconds at most."""
    if _provider is not None:
        _provider.force_flush(2_000)


def endpoint() -> str | None:
    """Where this process's spans go, for processes elsewhere; null where there are none."""
    return os.environ.get(ENDPOINTS[0]) if is_on() else None


def is_on() -> bool:
    return _provider is not None


def current() -> str | None:
    """The `traceparent` of what is being done; null without a trace."""
    if _provider is None:
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get(HEADER)


def current_ids() -> tuple[str, str] | None:
    """Trace id and span id of what is being done, as log lines carry them."""
    parts = (current() or "").split("-")
    return (parts[1], parts[2]) if len(parts) == 4 else None


def describe(name: str, value: str) -> None:
    """Sets an attribute of what is being done."""
    if _provider is not None:
        from opentelemetry import trace

        trace.get_current_span().set_attribute(name, value)


@contextmanager
def span(name: str, *, parent: str | None, **attributes: Any) -> Iterator[None]:
    """A part of the trace that `parent` (a `traceparent`) belongs to; without one there is nothing to be part of.

    What is being done now becomes its parent where it belongs to the same trace, and is linked otherwise.
    """
    if _provider is None or parent is None:
        yield
        return
    from opentelemetry import trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    here = trace.get_current_span().get_span_context()
    of_parent = TraceContextTextMapPropagator().extract({HEADER: parent})
    same_trace = here.is_valid and here.trace_id == trace.get_current_span(of_parent).get_span_context().trace_id
    tracer = _provider.get_tracer("basin")
    with tracer.start_as_current_span(
        name,
        context=None if same_trace else of_parent,
        links=[trace.Link(here)] if here.is_valid and not same_trace else [],
        attributes=attributes,
    ):
        yield
