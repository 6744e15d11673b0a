"""The tables. PostgreSQL is the truth; messages, polls and Ray's statuses are hints.

Times are UTC by the database's clock (`now()`). Enumerations are kept as text with a check, so that a new member is a
small migration. Constraints have names, so that Alembic can change them.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    Double,
    Float,
    ForeignKey,
    Identity,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    String,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


def in_words(column: str, words: type[Any]) -> str:
    """A check that `column` holds a member of the string enumeration `words`."""
    return f"{column} IN ({', '.join(repr(str(w.value)) for w in words)})"


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {datetime: DateTime(timezone=True), dict[str, Any]: JSONB}  # noqa: RUF012 - SQLAlchemy's own form


class User(Base):
    """A person; what they may do is their role."""

    __tablename__ = "users"
    __table_args__ = (
        CheckConstraint("role IN ('admin', 'member', 'viewer')", name="role"),
        CheckConstraint("weight > 0", name="weight"),
    )
    id: Mapped[int] = mapped_column(Integer, Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)
    role: Mapped[str] = mapped_column(String(16))
    max_workers: Mapped[int | None] = mapped_column(Integer)
    """Workers at once; null, here and below: the installation's default."""
    max_queued_runs: Mapped[int | None] = mapped_column(Integer)
    gpu_hours_per_month: Mapped[float | None] = mapped_column(Double)
    weight: Mapped[float] = mapped_column(Double, server_default="1")
    """Fair share: twice the weight is entitled to twice the slots."""
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Token(Base):
    """A bearer token of a user, kept as SHA-256: it is random with 256 bits, so no slow hash is needed."""

    __tablename__ = "tokens"
    id: Mapped[int] = mapped_column(Integer, Identity(), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    token_sha256: Mapped[str] = mapped_column(String(64), unique=True)
    label: Mapped[str] = mapped_column(String(64), server_default="")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime | None]
    last_used_at: Mapped[datetime | None]


class Run(Base):
    """What a person asked for. `status` is written by `api.runs.status.move` alone."""

    __tablename__ = "runs"
    __table_args__ = (
        UniqueConstraint("user_id", "idempotency_key"),
        CheckConstraint(
            "status IN ('queued', 'launching', 'running', 'pausing', 'paused', 'cancelling',"
            " 'succeeded', 'failed', 'cancelled')",
            name="status",
        ),
        CheckConstraint("visibility IN ('private', 'team')", name="visibility"),
        Index("ix_runs_newest", "created_at", "id"),
        Index("ix_runs_status_reason", "status", "reason"),
        Index("ix_runs_live", "status", postgresql_where="status NOT IN ('succeeded', 'failed', 'cancelled')"),
        Index("ix_runs_study", "study", "created_at", postgresql_where="study IS NOT NULL"),
        Index("ix_runs_deleted", "deleted_at", postgresql_where="deleted_at IS NOT NULL"),
        Index("ix_runs_likeness", "likeness", "ended_at", postgresql_where="status = 'succeeded'"),
    )
    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    project: Mapped[str] = mapped_column(String(64), server_default="default")
    visibility: Mapped[str] = mapped_column(String(16), server_default="team")
    name: Mapped[str] = mapped_column(String(128))
    study: Mapped[str | None] = mapped_column(String(128))
    """Name of the group of runs that it is meant to be compared with."""
    copied_from: Mapped[str | None] = mapped_column(String(16))
    """Id of the run whose edited copy this is; no foreign key, so that it outlives that run."""
    priority: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    """Higher starts first; -1000..1000."""
    status: Mapped[str] = mapped_column(String(16), server_default="queued")
    reason: Mapped[str | None] = mapped_column(String(64))
    """Why it ended (trainer.contract.ends.EndReason); null while it lives."""
    detail: Mapped[str | None] = mapped_column(Text)
    """What exactly, in words: the rank, the field, the file."""
    request: Mapped[dict[str, Any]]
    """The submission as sent."""
    spec: Mapped[dict[str, Any]]
    """The spec with its defaults resolved (trainer.contract.spec.TrainingSpec)."""
    idempotency_key: Mapped[str | None] = mapped_column(String(128))
    request_sha256: Mapped[str] = mapped_column(String(64))
    preemptible: Mapped[bool] = mapped_column(server_default="true")
    """Whether it may be paused for a run of higher priority, where the installation does that."""
    likeness: Mapped[str | None] = mapped_column(String(64))
    """SHA-256 of what decides how long it takes (api.runs.durations): runs of one likeness take about the same time."""
    wait_reason: Mapped[str | None] = mapped_column(String(256))
    """Why a queued run does not start yet; written by admission, like the next one."""
    estimated_start: Mapped[datetime | None]
    """When it starts by the expected ends of what runs; null where that cannot be known."""
    step: Mapped[int] = mapped_column(BigInteger, server_default="0")
    total_steps: Mapped[int | None] = mapped_column(BigInteger)
    epoch: Mapped[float | None] = mapped_column(Float)
    eta_seconds: Mapped[float | None] = mapped_column(Float)
    traceparent: Mapped[str | None] = mapped_column(String(64))
    """Where its submission stands in a trace (W3C); its jobs go on from there. Null: it was not traced."""
    latest: Mapped[dict[str, Any]] = mapped_column(server_default="{}")
    """Metric -> {"step", "value", "best", "best_step"} over the valid points, so that a list needs no points."""
    failures: Mapped[int] = mapped_column(Integer, server_default="0")
    """Failed attempts since the last newer checkpoint: the one retry budget."""
    failures_at_step: Mapped[int] = mapped_column(BigInteger, server_default="0")
    """Step of the newest checkpoint when `failures` was last counted."""
    not_before: Mapped[datetime | None]
    """Back-off: admission leaves the run alone until then."""
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    queued_at: Mapped[datetime] = mapped_column(server_default=func.now())
    started_at: Mapped[datetime | None]
    """First claim by a trainer."""
    status_at: Mapped[datetime] = mapped_column(server_default=func.now())
    """When it came to its status."""
    cancel_requested_at: Mapped[datetime | None]
    cancel_at_once: Mapped[bool] = mapped_column(server_default=text("false"))
    """Cancelled twice: its trainer gets no time to save."""
    pause_requested_at: Mapped[datetime | None]
    requeues: Mapped[bool] = mapped_column(server_default=text("false"))
    """Once paused it goes back to the queue by itself: it was preempted, or resumed while it still saved."""
    time_limit_seconds: Mapped[float | None] = mapped_column(Double)
    """Of its spec (trainer.contract.limits.Limits), where reconcile finds it without reading specs."""
    deadline: Mapped[datetime | None]
    """Of its spec, likewise."""
    limit_reached: Mapped[str | None] = mapped_column(String(64))
    """Set once its attempt was told to save and end for a limit: the reason (EndReason) that it will end by."""
    limit_reached_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    archived_at: Mapped[datetime | None]
    """Left out of lists that do not ask for it."""
    deleted_at: Mapped[datetime | None]
    """Hidden everywhere; until BASIN_DELETED_KEPT_HOURS later it can be restored."""
    purged_at: Mapped[datetime | None]
    """From here on its files and rows are being removed: nothing can be restored."""


class Attempt(Base):
    """One try at a run: one Ray job, one worker group, one world size."""

    __tablename__ = "attempts"
    __table_args__ = (
        UniqueConstraint("run_id", "number"),
        Index("ix_attempts_open", "run_id", postgresql_where="slots_released_at IS NULL"),
        Index("ix_attempts_released", "slots_released_at"),
    )
    id: Mapped[str] = mapped_column(String(24), primary_key=True)
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"))
    number: Mapped[int] = mapped_column(Integer)
    submission_id: Mapped[str] = mapped_column(String(64), unique=True)
    world_size: Mapped[int] = mapped_column(Integer)
    gpus_per_worker: Mapped[int] = mapped_column(SmallInteger)
    placement: Mapped[dict[str, Any]]
    """Ray node id -> workers, as admission decided; holds the slots until `slots_released_at`."""
    hosts: Mapped[dict[str, Any] | None]
    """Ray node id -> host of the placement: a machine that comes back has a new id, and its slots are held still."""
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    submitted_at: Mapped[datetime | None]
    """When Ray took the job."""
    claimed_at: Mapped[datetime | None]
    claim_process_id: Mapped[str | None] = mapped_column(String(64))
    token_sha256: Mapped[str | None] = mapped_column(String(64), unique=True)
    resume_step: Mapped[int | None] = mapped_column(BigInteger)
    valid_until_step: Mapped[int | None] = mapped_column(BigInteger)
    """A successor's claim ends this attempt's validity at its resume step; null: all its points are valid."""
    lease_renewed_at: Mapped[datetime | None]
    lease_serving_seconds: Mapped[float | None] = mapped_column(Double)
    """`service_clock.serving_seconds` at the last renewal; the lease's age is the clock's reading minus this."""
    first_step_at: Mapped[datetime | None]
    """Rank 0's clock at the end of the first optimizer step."""
    step: Mapped[int] = mapped_column(BigInteger, server_default="0")
    doing: Mapped[str | None] = mapped_column(String(200))
    environment: Mapped[dict[str, Any] | None]
    """Fingerprint: Basin, torch, timm, ray, Python, host, devices."""
    reported_reason: Mapped[str | None] = mapped_column(String(64))
    """How its driver said it ended; becomes final when the attempt is ended."""
    reported_detail: Mapped[str | None] = mapped_column(Text)
    stop_requested_at: Mapped[datetime | None]
    """When Ray was asked to stop the job."""
    ray_status: Mapped[str | None] = mapped_column(String(16))
    """Last seen: pending, running, ended, gone."""
    ended_at: Mapped[datetime | None]
    reason: Mapped[str | None] = mapped_column(String(64))
    detail: Mapped[str | None] = mapped_column(Text)
    slots_released_at: Mapped[datetime | None]
    """When Ray said the job is terminal or gone: only then are its slots free."""
    log_tail: Mapped[str | None] = mapped_column(Text)
    """Ray's own last log lines, kept where a job ended without a claim."""


class ReportMark(Base):
    """Highest report number stored per writer of an attempt; a row lock here serialises intake of one writer."""

    __tablename__ = "report_marks"
    attempt_id: Mapped[str] = mapped_column(ForeignKey("attempts.id", ondelete="CASCADE"), primary_key=True)
    writer: Mapped[str] = mapped_column(String(16), primary_key=True)
    last_seq: Mapped[int] = mapped_column(BigInteger, server_default="0")


class MetricName(Base):
    """Metric names as small integers, so that a point is 34 bytes and not a string."""

    __tablename__ = "metric_names"
    id: Mapped[int] = mapped_column(SmallInteger, Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(String(64), unique=True)


class MetricPoint(Base):
    """A number at a step of an attempt. Unique by (run, metric, attempt, step); a conflict does nothing."""

    __tablename__ = "metric_points"
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"), primary_key=True)
    metric_id: Mapped[int] = mapped_column(ForeignKey("metric_names.id"), primary_key=True)
    attempt_number: Mapped[int] = mapped_column(Integer, primary_key=True)
    step: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    value: Mapped[float] = mapped_column(Double)


class CheckpointRow(Base):
    """A complete checkpoint on storage."""

    __tablename__ = "checkpoints"
    __table_args__ = (Index("ix_checkpoints_newest", "run_id", "step"),)
    attempt_id: Mapped[str] = mapped_column(ForeignKey("attempts.id", ondelete="CASCADE"), primary_key=True)
    step: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"))
    path: Mapped[str] = mapped_column(String(1024))
    """Relative to the storage root."""
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Event(Base):
    """A row of a run's timeline: what happened, when, by whom. Past tense, no actor's or target's name in the text."""

    __tablename__ = "events"
    __table_args__ = (Index("ix_events_run", "run_id", "id"),)
    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"))
    attempt_number: Mapped[int | None] = mapped_column(Integer)
    at: Mapped[datetime] = mapped_column(server_default=func.now())
    kind: Mapped[str] = mapped_column(String(48))
    """"submitted", "status", "attempt", "checkpoint", "notice", ..."""
    actor: Mapped[str] = mapped_column(String(80))
    """"user:<name>", "worker", "trainer"."""
    text: Mapped[str] = mapped_column(Text)
    data: Mapped[dict[str, Any]] = mapped_column(server_default="{}")


class ChangeRow(Base):
    """A change as live streams tell it. Kept for an hour, so that who reconnects is told what came meanwhile.

    Streams read in the order (xid, id) and only below `pg_snapshot_xmin(pg_current_snapshot())`, the oldest
    transaction still under way; `api.db.changes` says why that loses nothing and tells nothing in a wrong order.
    """

    __tablename__ = "changes"
    xid: Mapped[int] = mapped_column(
        BigInteger,
        primary_key=True,
        autoincrement=False,
        server_default=text(
            "greatest(pg_current_xact_id()::text::bigint, pg_snapshot_xmax(pg_current_snapshot())::text::bigint - 1)"
        ),
    )
    """The newest transaction that this one may have seen or be: its own, or a newer one that had ended by then."""
    id: Mapped[int] = mapped_column(BigInteger, Identity(cache=1), primary_key=True)
    """Taken one by one, never in blocks: with equal `xid` it says who was first."""
    at: Mapped[datetime] = mapped_column(server_default=func.now())
    kind: Mapped[str] = mapped_column(String(16))
    """"run", "metrics" or "event"."""
    run_id: Mapped[str] = mapped_column(String(16))
    user_id: Mapped[int] = mapped_column(Integer)
    """The run's owner; with `visibility` it decides who is told."""
    visibility: Mapped[str] = mapped_column(String(16))
    data: Mapped[dict[str, Any]]


class ChangeLog(Base):
    """One row: from where on `changes` is complete, and in which database that is true."""

    __tablename__ = "change_log"
    __table_args__ = (CheckConstraint("id = 1", name="single"),)
    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, server_default="1")
    lineage: Mapped[str] = mapped_column(String(64), server_default="")
    """Cluster and database that wrote the rows; after a restore elsewhere their xids mean nothing."""
    kept_after_xid: Mapped[int] = mapped_column(BigInteger, server_default="0")
    kept_after_id: Mapped[int] = mapped_column(BigInteger, server_default="0")
    """Every change after this position is there; those before it were deleted."""


class ServiceClock(Base):
    """One row: how many seconds the API has been serving. Leases age by it, so an outage of ours kills no trainer."""

    __tablename__ = "service_clock"
    __table_args__ = (CheckConstraint("id = 1", name="single"),)
    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, server_default="1")
    serving_seconds: Mapped[float] = mapped_column(Double, server_default="0")
    ticked_at: Mapped[datetime] = mapped_column(server_default=func.now())


class StorageProof(Base):
    """One row: what `.basin-storage` holds on the storage of this database's runs, known since the first start."""

    __tablename__ = "storage_proof"
    __table_args__ = (CheckConstraint("id = 1", name="single"),)
    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, server_default="1")
    proof: Mapped[str] = mapped_column(String(64))


class ClusterNode(Base):
    """What Ray offered when the worker last looked; lets the API refuse what can never fit without talking to Ray."""

    __tablename__ = "cluster_nodes"
    node_id: Mapped[str] = mapped_column(String(64), primary_key=True)
    host: Mapped[str] = mapped_column(String(255))
    cpus: Mapped[float] = mapped_column(Float)
    gpus: Mapped[float] = mapped_column(Float)
    alive: Mapped[bool]
    seen_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Heartbeat(Base):
    """When a part last showed that it works ("reconcile", "ray"); `/readyz` reads it."""

    __tablename__ = "heartbeats"
    part: Mapped[str] = mapped_column(String(32), primary_key=True)
    at: Mapped[datetime] = mapped_column(server_default=func.now())
    detail: Mapped[str | None] = mapped_column(Text)
