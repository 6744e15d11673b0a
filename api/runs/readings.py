"""What `/metrics` tells from rows: a few statements in one short transaction, each served by an index.

Nobody is waited for: `readings_probe` asks in a thread of its own, and shares an answer for a few seconds.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prometheus_client.metrics_core import Metric
from sqlalchemy import Connection, Engine, Row, func, select, text

from api.db.operations_tables import DrainedHost
from api.db.tables import Attempt, ClusterNode, Heartbeat, Run, StorageProof
from api.db.watching_tables import PastCount
from api.db.webhook_tables import WebhookDelivery
from api.runs.canary import API, canary_states
from api.runs.past_counts import ENDED
from api.runs.probe import Probe
from api.runs.service_clock import serving_seconds
from api.runs.status import TERMINAL, RunStatus
from api.runs.wait_kinds import KINDS, wait_kind
from api.telemetry import families
from trainer.contract.ends import EndReason

FRESH_SECONDS = 5.0
PATIENCE_SECONDS = 3.0
STATEMENT_MILLISECONDS = 2_000
GPU_READINGS = (
    ("gpu_utilization", families.GPU_UTILIZATION, 0.01),
    ("gpu_memory_bytes", families.GPU_MEMORY, 1.0),
    ("gpu_watts", families.GPU_WATTS, 1.0),
)
"""A run's metric, the family that tells it, and the factor between their units."""
RANK = "/rank"


@dataclass(frozen=True, kw_only=True)
class Readings:
    families: Sequence[Metric]
    storage_proof: str | None
    """What the storage's proof has to be; null: nothing was stored yet."""


def readings_probe(engine: Engine) -> Probe[Readings]:
    return Probe("readings", lambda: read(engine), fresh_seconds=FRESH_SECONDS, patience_seconds=PATIENCE_SECONDS)


def read(engine: Engine) -> Readings:
    """Raises SQLAlchemyError."""
    # One snapshot: a run that is being removed is counted among the rows or among those that are gone, never in both.
    snapshot = engine.connect().execution_options(isolation_level="REPEATABLE READ")
    with snapshot as connection, connection.begin():
        connection.execute(text(f"SET LOCAL statement_timeout = {STATEMENT_MILLISECONDS}"))
        found = [*_queue(connection), *_runs(connection), *_attempts(connection), *_signs_of_life(connection)]
        found += [*_webhooks(connection), _size(connection)]
        return Readings(families=found, storage_proof=connection.scalar(select(StorageProof.proof)))


def _queue(connection: Connection) -> Iterator[Metric]:
    backing_off = func.coalesce(Run.not_before > func.now(), False)
    oldest = func.max(func.extract("epoch", func.now() - Run.queued_at))
    rows = connection.execute(
        select(Run.wait_reason, backing_off, func.count(), oldest)
        .where(Run.status == RunStatus.queued.value)
        .group_by(Run.wait_reason, backing_off)
    )
    depth, age = dict.fromkeys(KINDS, 0.0), dict.fromkeys(KINDS, 0.0)
    for reason, backs_off, count, seconds in rows:
        kind = wait_kind(reason, backing_off=backs_off)
        depth[kind] += count
        age[kind] = max(age[kind], float(seconds))
    yield families.QUEUE_DEPTH.of(((kind,), number) for kind, number in depth.items())
    yield families.QUEUE_OLDEST.of(((kind,), seconds) for kind, seconds in age.items())


def _runs(connection: Connection) -> Iterator[Metric]:
    by_status = dict.fromkeys([status.value for status in RunStatus], 0)
    ended = dict.fromkeys([reason.value for reason in EndReason], 0)
    for status, reason, count in connection.execute(
        select(Run.status, Run.reason, func.count()).group_by(Run.status, Run.reason)
    ):
        by_status[status] = by_status.get(status, 0) + count
        if reason is not None and status in TERMINAL:
            ended[reason] = ended.get(reason, 0) + count
    admissions = connection.execute(select(func.count()).select_from(Attempt)).scalar_one()
    for past in connection.execute(select(PastCount.counter, PastCount.label, PastCount.number)):
        if past.counter == ENDED:
            ended[past.label] = ended.get(past.label, 0) + past.number
        else:
            admissions += past.number
    yield families.RUNS.of(((status,), count) for status, count in by_status.items())
    yield families.RUNS_ENDED.of(((reason,), count) for reason, count in ended.items())
    yield families.ADMISSIONS.one(admissions)


# ---- The cluster -----------------------------------------------------------------------------------------------------


def _attempts(connection: Connection) -> Iterator[Metric]:
    """What attempts hold, and how those that run are: all by the index on open attempts."""
    lease_age = func.greatest(0, serving_seconds() - Attempt.lease_serving_seconds)
    rows = connection.execute(
        select(
            Attempt.placement,
            Attempt.hosts,
            Attempt.gpus_per_worker,
            (Attempt.claimed_at.is_not(None) & Attempt.ended_at.is_(None)).label("lives"),
            lease_age.label("lease_age"),
            Run.id,
            Run.latest,
        )
        .join(Run, Run.id == Attempt.run_id)
        .where(Attempt.slots_released_at.is_(None))
    ).all()
    living = [row for row in rows if row.lives]
    ages = [float(row.lease_age or 0.0) for row in living]
    yield families.lease_ages(ages)
    yield families.LEASE_AGE_MAX.one(max(ages, default=0.0))
    nodes = connection.execute(
        select(ClusterNode.node_id, ClusterNode.host, ClusterNode.cpus, ClusterNode.gpus, ClusterNode.alive)
    ).all()
    hosts = {node.node_id: node.host for node in nodes}
    drained = set(connection.scalars(select(DrainedHost.host)))
    yield families.SLOTS.of(_slots(nodes, rows, hosts, drained))
    for metric, family, factor in GPU_READINGS:
        yield family.of(
            (labels, factor * value) for row in living for labels, value in _gpu_readings(row, metric, hosts)
        )


def _slots(
    nodes: Sequence[Any], held: Sequence[Row[Any]], hosts: Mapping[str, str], drained: Collection[str]
) -> Iterator[families.Sample]:
    """Those of a drained host are `drained`, unless a run still holds them: they are not free, and nobody need be told
    that a machine is away which somebody takes down."""
    used: dict[tuple[str, str], int] = defaultdict(int)
    for row in held:
        kind = "gpu" if row.gpus_per_worker else "cpu"
        for node_id, workers in row.placement.items():
            used[_host(node_id, row, hosts), kind] += workers * max(1, row.gpus_per_worker)
    have: dict[tuple[str, str, bool], int] = defaultdict(int)
    for node in nodes:
        for kind, slots in (("gpu", node.gpus), ("cpu", node.cpus)):
            have[node.host, kind, node.alive] += int(slots)
    for host, kind in sorted({(host, kind) for host, kind, _ in have} | used.keys()):
        taken, away = used[host, kind], have[host, kind, False]
        left = max(0, have[host, kind, True] - taken)
        is_drained = host in drained
        yield (host, kind, "used"), taken
        yield (host, kind, "free"), 0 if is_drained else left
        yield (host, kind, "drained"), left + away if is_drained else 0
        yield (host, kind, "away"), 0 if is_drained else away


def _host(node_id: str, row: Row[Any], hosts: Mapping[str, str]) -> str:
    """A machine that came back has a new node id; its attempt remembers the old one's host."""
    return hosts.get(node_id) or (row.hosts or {}).get(node_id) or node_id


def _gpu_readings(row: Row[Any], metric: str, hosts: Mapping[str, str]) -> Iterator[families.Sample]:
    """The newest points of a running run, of each rank that tells its own. Ranks lie on nodes in the order of the
    nodes' ids, as the trainer places them."""
    nodes = [node for node, workers in sorted(row.placement.items()) for _ in range(workers)]
    for name, point in row.latest.items():
        rank = name.removeprefix(metric + RANK)
        if rank == name or not rank.isdigit() or not isinstance(value := point.get("value"), int | float):
            continue
        place = int(rank)
        yield (_host(nodes[place], row, hosts) if place < len(nodes) else "", row.id, rank), float(value)


# ---- Signs of life ---------------------------------------------------------------------------------------------------


def _signs_of_life(connection: Connection) -> Iterator[Metric]:
    canaries = canary_states(connection)
    yield families.CANARY_AGE.of(((sender,), state.age_seconds) for sender, state in canaries.items())
    if API in canaries and (took := canaries[API].round_trip_seconds) is not None:
        yield families.CANARY_ROUND_TRIP.one(took)
    age = func.extract("epoch", func.clock_timestamp() - Heartbeat.at)
    beats = connection.execute(select(Heartbeat.part, age)).all()
    yield families.HEARTBEAT_AGE.of(((part,), max(0.0, float(seconds))) for part, seconds in beats)


def _webhooks(connection: Connection) -> Iterator[Metric]:
    due = func.extract("epoch", func.now() - func.min(WebhookDelivery.next_at))
    waiting, overdue = connection.execute(select(func.count(), due).where(WebhookDelivery.state == "waiting")).one()
    yield families.WEBHOOKS_WAITING.one(waiting)
    yield families.WEBHOOKS_OVERDUE.one(max(0.0, float(overdue or 0.0)))


def _size(connection: Connection) -> Metric:
    size = connection.execute(select(func.pg_database_size(func.current_database()))).scalar_one()
    return families.DATABASE_SIZE.one(float(size))
