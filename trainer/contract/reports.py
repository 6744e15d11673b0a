"""What a trainer tells the API, and what it hears back.

Two writers number their reports from 1 without gaps, each for itself, unique by (attempt, writer, seq): the `driver`
(start, lease until the first step, how it ended) and `rank0` (metrics, progress, checkpoints, lease after that).
Sending one twice does nothing; a gap is refused, since a spool is sent in order.
"""

from __future__ import annotations

import math
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_serializer

from trainer.contract.ends import EndReason

MAX_REPORTS_PER_BATCH = 500
MAX_DETAIL = 4_000
MAX_COUNT = 2**53
"""Bound of steps, bytes and report numbers: what JSON readers hold exactly, and the database's integers."""


class Message(BaseModel):
    """Base: unknown fields are ignored, since trainer and API may be of neighbouring versions during an upgrade."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Writer(StrEnum):
    driver = "driver"
    rank0 = "rank0"


class Environment(Message):
    """The fingerprint of what an attempt ran on."""

    basin: str
    python: str
    torch: str | None = None
    timm: str | None = None
    ray: str | None = None
    host: str
    devices: list[str] = Field(default_factory=list, max_length=4096)
    """One entry per rank, e.g. "cpu" or "NVIDIA H100 80GB HBM3"."""


class Numbered(Message):
    seq: int = Field(ge=1, le=MAX_COUNT)
    at: datetime
    """The writer's clock, UTC; for people, never for decisions."""


class StartedReport(Numbered):
    """driver: the worker group is up and joined."""

    kind: Literal["started"] = "started"
    environment: Environment


class LeaseReport(Numbered):
    """driver, until rank 0's first step: alive, nothing to tell yet. Also renews the lease."""

    kind: Literal["lease"] = "lease"
    doing: str = Field(default="", max_length=200)
    """What it waits for, e.g. "waiting for 2 workers"."""


class ProgressReport(Numbered):
    """rank0: how far it is. Renews the lease."""

    kind: Literal["progress"] = "progress"
    step: int = Field(ge=0, le=MAX_COUNT)
    """Steps completed."""
    total_steps: int = Field(ge=1, le=MAX_COUNT)
    epoch: float = Field(ge=0)
    eta_seconds: float | None = None
    first_step_at: datetime | None = None
    """Rank 0's clock at the end of this attempt's first optimizer step."""


class MetricsReport(Numbered):
    """rank0: the numbers of one step. Values that are not finite travel as the strings "nan", "inf", "-inf"."""

    kind: Literal["metrics"] = "metrics"
    step: int = Field(ge=0, le=MAX_COUNT)
    """Steps completed: the numbers of the first step carry 1; 0 is before training."""
    values: dict[str, float] = Field(max_length=256)

    @field_serializer("values", when_used="json")
    def _spell_what_json_lacks(self, values: dict[str, float]) -> dict[str, float | str]:
        return {name: value if math.isfinite(value) else str(value) for name, value in values.items()}


class CheckpointReport(Numbered):
    """rank0: a checkpoint is complete on storage and every report before it is acknowledged or stored beside it."""

    kind: Literal["checkpoint"] = "checkpoint"
    step: int = Field(ge=0, le=MAX_COUNT)
    path: str = Field(max_length=1024)
    """Relative to the storage root, e.g. "runs/<id>/checkpoints/step-00000100"."""
    size_bytes: int = Field(ge=0, le=MAX_COUNT)


class NoticeReport(Numbered):
    """rank0: a sentence for the run's timeline, e.g. that the reused direction does not persist."""

    kind: Literal["notice"] = "notice"
    code: str = Field(max_length=64)
    text: str = Field(max_length=1000)
    step: int = Field(ge=0, le=MAX_COUNT)


class EndedReport(Numbered):
    """driver: how the attempt ended; its last report."""

    kind: Literal["ended"] = "ended"
    reason: EndReason
    detail: str = Field(default="", max_length=MAX_DETAIL)
    """What exactly, in words a person understands: the rank, the field, the file."""


Report = Annotated[
    StartedReport | LeaseReport | ProgressReport | MetricsReport | CheckpointReport | NoticeReport | EndedReport,
    Field(discriminator="kind"),
]


class ReportBatch(Message):
    """Body of POST /api/v1/attempts/{id}/reports: reports of one writer, ascending by seq without gaps."""

    writer: Writer
    reports: list[Report] = Field(min_length=1, max_length=MAX_REPORTS_PER_BATCH)


class Command(StrEnum):
    go_on = "go_on"
    stop = "stop"
    """Save a checkpoint, then end as cancelled; for a superseded attempt: end at once, save nothing."""
    pause = "pause"
    """Save a checkpoint, then end as paused."""


class ReportReply(Message):
    """`acknowledged`: the highest seq of this writer that is stored; send on from the next."""

    acknowledged: int = Field(ge=0)
    command: Command = Command.go_on
    superseded: bool = False


class ClaimRequest(Message):
    """Body of POST /api/v1/attempts/{id}/claim; authorised by the launch code as bearer token."""

    process_id: str = Field(min_length=16, max_length=64)
    """Random, made by the claiming process; the same one may claim again (its answer was lost)."""
    storage_proof: str | None = Field(default=None, max_length=64)
    """Contents of the storage root's `.basin-storage` as the trainer read it; null if it could not read it."""


class ResumePoint(Message):
    step: int
    path: str


class Claim(Message):
    """The answer to the process that won: all that an attempt needs. `spec` is a TrainingSpec as stored."""

    run_id: str
    attempt_id: str
    attempt_number: int
    attempt_token: str
    spec: dict[str, Any]
    resume: list[ResumePoint] = Field(default_factory=list)
    """Checkpoints to resume from, newest first; a torn one is skipped. Empty: from the start."""
    initial: list[ResumePoint] = Field(default_factory=list)
    """Checkpoints of the run that `model.init_from.run` names, newest first, for an attempt that resumes from none."""
    storage: str
    """Storage root, an absolute folder."""
    lease_interval_seconds: float
    placement: dict[str, int] = Field(default_factory=dict)
    """Ray node id -> number of workers there, as admission decided."""
    timeouts: dict[str, float] = Field(default_factory=dict)
    """Settings of the worker group in seconds: "join", "hang"."""
    data_roots: list[str] = Field(default_factory=list)
    """Absolute folders under which data may be read, links followed; a relative path is looked up in them in turn."""


class LaunchPayload(Message):
    """What the Ray job's environment carries in BASIN_LAUNCH, as JSON."""

    api_url: str
    attempt_id: str
    launch_code: str
    storage: str
    """Storage root, an absolute folder; its file `.basin-storage` is read as the proof that it is shared."""
    spool: str | None = None
    """Node-local folder for spools; null: the system's temporary folder."""
    log_format: str = "text"
    """"json": log lines are JSON objects; anything else: lines for a person."""
    traceparent: str | None = None
    """Where the job stands in a trace (W3C); null: its run is not traced."""
    otlp_endpoint: str | None = None
    """Where spans go (OTLP over HTTP) unless the node's own OTEL_EXPORTER_OTLP_ENDPOINT says otherwise."""
