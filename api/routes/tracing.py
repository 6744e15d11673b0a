"""A span for each request, by FastAPI's own telemetry, where traces are wanted (`api.telemetry.traces`)."""

from __future__ import annotations

import re
from collections.abc import MutableMapping
from typing import Any

from fastapi.telemetry import TelemetryConfig

from api.telemetry import traces

# What is asked for every few seconds, for ever, by machines and open pages; what trainers report is in `/metrics`.
UNTRACED = re.compile(r"(/api/v1)?/(healthz|readyz)|/metrics|/assets/.*|/api/v1/stream|/api/v1/attempts/[^/]+/reports")


def telemetry_config() -> TelemetryConfig:
    """Spans of requests and nothing else: metrics are Prometheus's, logs are structlog's."""
    return {
        "tracing": traces.is_on(),
        "operation_spans": False,
        "metrics": False,
        "logs": False,
        "auto_configure": False,
        "exclude": is_untraced,
    }


def is_untraced(scope: MutableMapping[str, Any]) -> bool:
    return UNTRACED.fullmatch(scope.get("path", "")) is not None
