"""Every metric family that `/metrics` tells, in this one file, so that dashboards and alert rules can be held to it.

Names are Prometheus's: a prefix, the unit at the end, `_total` where a number only grows. What the process itself
counts is an object of prometheus_client here; what comes from rows is a `Family`, filled anew at each scrape.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from prometheus_client import (
    GC_COLLECTOR,
    PLATFORM_COLLECTOR,
    PROCESS_COLLECTOR,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
)
from prometheus_client.core import CounterMetricFamily, GaugeHistogramMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

Kind = Literal["gauge", "counter"]
Sample = tuple[Sequence[str], float]
"""Values of the labels in their order, and the number."""


@dataclass(frozen=True, kw_only=True)
class Family:
    """One that is made from rows, or from what the process holds, at each scrape."""

    name: str
    help: str
    kind: Kind = "gauge"
    labels: tuple[str, ...] = ()

    def of(self, samples: Iterable[Sample]) -> Metric:
        made = CounterMetricFamily if self.kind == "counter" else GaugeMetricFamily
        family: CounterMetricFamily | GaugeMetricFamily = made(self.name, self.help, labels=self.labels)
        for labels, value in samples:
            family.add_metric(list(labels), value)
        return family

    def one(self, value: float) -> Metric:
        return self.of([((), value)])


# ---- Counted by this process -----------------------------------------------------------------------------------------

disable_created_metrics()  # type: ignore[no-untyped-call]  # One more series beside each of every label, that nobody looks at.

LATENCY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

HTTP_SECONDS = Histogram(
    "basin_http_request_duration_seconds",
    "Time until an answer began, by method, route template and status.",
    ("method", "route", "status"),
    buckets=LATENCY_BUCKETS,
    registry=None,
)
HTTP_IN_PROGRESS = Gauge("basin_http_requests_in_progress", "Requests whose answer has not begun yet.", registry=None)
REPORTS = Counter("basin_reports", "Trainers' reports taken in by this API process, by kind.", ("kind",), registry=None)
POINTS = Counter("basin_metric_points", "Metric points taken in by this API process.", registry=None)

PROCESS: tuple[Collector, ...] = (
    HTTP_SECONDS, HTTP_IN_PROGRESS, REPORTS, POINTS, PROCESS_COLLECTOR, PLATFORM_COLLECTOR, GC_COLLECTOR,
)  # fmt: skip
"""All that this process counts by itself; the last three are prometheus_client's own."""

# ---- Held by this process --------------------------------------------------------------------------------------------

BUILD_INFO = Family(name="basin_build_info", help="1; its label says which version this is.", labels=("version",))
STREAM_CLIENTS = Family(name="basin_stream_clients", help="Browsers that follow this API process's live stream.")
POOL_CONNECTIONS = Family(
    name="basin_database_pool_connections",
    help="Database connections of this API process: in use, or idle.",
    labels=("state",),
)
POOL_LIMIT = Family(name="basin_database_pool_limit", help="Most database connections that this process may have.")
DATABASE_UP = Family(
    name="basin_database_up", help="1 if the database answered this scrape; if 0, what comes from rows is left out."
)
STORAGE_UP = Family(name="basin_storage_up", help="1 if the storage answers, is the right one and can be written.")
STORAGE_FREE = Family(name="basin_storage_free_bytes", help="Free space of the storage, for who is not root.")
STORAGE_SIZE = Family(name="basin_storage_size_bytes", help="Size of the storage.")

# ---- From rows -------------------------------------------------------------------------------------------------------

DATABASE_SIZE = Family(name="basin_database_size_bytes", help="Size of the database on its disk.")
QUEUE_DEPTH = Family(name="basin_queue_depth", help="Queued runs, by what they wait for.", labels=("reason",))
QUEUE_OLDEST = Family(
    name="basin_queue_oldest_age_seconds",
    help="Time since the oldest queued run was queued, by what it waits for; 0 without one.",
    labels=("reason",),
)
RUNS = Family(name="basin_runs", help="Runs by status, deleted ones until they are removed.", labels=("status",))
RUNS_ENDED = Family(
    name="basin_runs_ended_total",
    help="Runs that ended, by why (trainer.contract.ends), removed ones too.",
    kind="counter",
    labels=("reason",),
)
ADMISSIONS = Family(
    name="basin_admissions_total", help="Attempts that were given slots, of removed runs too.", kind="counter"
)
LEASE_AGE_NAME = "basin_lease_age_seconds"
LEASE_AGE_BUCKETS = (5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0)
LEASE_AGE_MAX = Family(
    name="basin_lease_age_seconds_max", help="Greatest age of a running attempt's lease; 0 without one."
)
CANARY_ROUND_TRIP = Family(
    name="basin_canary_round_trip_seconds",
    help="How long the API's canary task that came last took from its sending through broker and worker to its row.",
)
CANARY_AGE = Family(
    name="basin_canary_age_seconds",
    help="Time since a canary task of this sender was last taken by a Celery worker.",
    labels=("sender",),
)
HEARTBEAT_AGE = Family(
    name="basin_heartbeat_age_seconds",
    help="Time since the last reconcile pass (reconcile) and since Ray last answered one (ray).",
    labels=("part",),
)
SLOTS = Family(
    name="basin_slots",
    help="Slots (kind gpu or cpu) of each host: used, free, drained with their host, or away with their node.",
    labels=("host", "kind", "state"),
)
GPU_UTILIZATION = Family(
    name="basin_gpu_utilization_ratio",
    help="0 to 1: share of time in which a rank's GPU computed, by NVML, as last reported by its run.",
    labels=("host", "run", "rank"),
)
GPU_MEMORY = Family(
    name="basin_gpu_memory_used_bytes",
    help="Memory in use on a rank's GPU, by NVML, as last reported by its run.",
    labels=("host", "run", "rank"),
)
GPU_WATTS = Family(
    name="basin_gpu_power_watts",
    help="Power that a rank's GPU draws, by NVML, as last reported by its run.",
    labels=("host", "run", "rank"),
)
WEBHOOKS_WAITING = Family(name="basin_webhook_deliveries_waiting", help="Webhook messages not yet delivered.")
WEBHOOKS_OVERDUE = Family(
    name="basin_webhook_oldest_due_age_seconds", help="How long the oldest due webhook message has been due; 0 if none."
)

HELD = (
    BUILD_INFO, STREAM_CLIENTS, POOL_CONNECTIONS, POOL_LIMIT, DATABASE_UP, STORAGE_UP, STORAGE_FREE, STORAGE_SIZE,
)  # fmt: skip
FROM_ROWS = (
    DATABASE_SIZE, QUEUE_DEPTH, QUEUE_OLDEST, RUNS, RUNS_ENDED, ADMISSIONS, LEASE_AGE_MAX, CANARY_ROUND_TRIP,
    CANARY_AGE, HEARTBEAT_AGE, SLOTS, GPU_UTILIZATION, GPU_MEMORY, GPU_WATTS, WEBHOOKS_WAITING, WEBHOOKS_OVERDUE,
)  # fmt: skip


def lease_ages(ages: Sequence[float]) -> Metric:
    """The lease ages of running attempts as a histogram of the moment: its counts fall as well as rise."""
    buckets = [(f"{bound:g}", float(sum(age <= bound for age in ages))) for bound in LEASE_AGE_BUCKETS]
    help_text = "Ages of the leases of running attempts, in seconds that an API was serving."
    return GaugeHistogramMetricFamily(
        LEASE_AGE_NAME, help_text, buckets=[*buckets, ("+Inf", float(len(ages)))], gsum_value=float(sum(ages))
    )


def basin_families() -> list[str]:
    """Names of Basin's own families, as `# TYPE` lines have them."""
    counted = [
        metric.name + ("_total" if metric.type == "counter" else "")
        for collector in (HTTP_SECONDS, HTTP_IN_PROGRESS, REPORTS, POINTS)
        for metric in collector.collect()
    ]
    return sorted([*counted, *(family.name for family in (*HELD, *FROM_ROWS)), LEASE_AGE_NAME])


def series_names() -> frozenset[str]:
    """Every name that a dashboard or a rule may write, with the suffixes that Prometheus stores them by."""
    names = {family.name for family in (*HELD, *FROM_ROWS)}
    names |= {LEASE_AGE_NAME + suffix for suffix in ("_bucket", "_gcount", "_gsum")}
    for collector in PROCESS:
        for metric in collector.collect():
            names |= _suffixed(metric)
    return frozenset(names)


def _suffixed(metric: Metric) -> set[str]:
    if metric.type == "histogram":
        return {metric.name + suffix for suffix in ("_bucket", "_count", "_sum")}
    if metric.type == "counter":
        return {metric.name + "_total"}
    return {metric.name, *(sample.name for sample in metric.samples)}
