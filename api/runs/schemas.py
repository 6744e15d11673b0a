"""What the API answers: pydantic only, so that the live channel and the routes speak the same shapes.

JSON has no NaN: a number that is not finite is null everywhere. Times are UTC.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from api.runs.bodies import Visibility
from api.runs.status import RunStatus
from trainer.contract.ends import EndReason, Fault
from trainer.contract.metrics import Direction, Group
from trainer.contract.problems import SpecProblem

Role = Literal["admin", "member", "viewer"]


class Answer(BaseModel):
    """Base: all fields are always there, those that are off are null."""

    model_config = ConfigDict(
        use_attribute_docstrings=True, json_schema_serialization_defaults_required=True, frozen=True
    )


class LatestValue(Answer):
    """The newest valid value of a metric, and the best so far where the catalogue says which way is better."""

    step: int
    value: float | None
    best: float | None
    best_step: int | None


class RunSummary(Answer):
    """A row of the run list; also the data of the live event `run`."""

    id: str
    name: str
    project: str
    study: str | None
    """Group of runs meant to be compared."""
    visibility: Visibility
    user: str
    status: RunStatus
    reason: EndReason | None
    """Why it ended; null while it lives."""
    sentence: str | None
    """The reason as a person reads it; for a silent run, that it is silent."""
    detail: str | None
    """What exactly: the rank, the field, the file."""
    fault: Fault | None
    priority: int
    """Higher starts first."""
    position: int | None
    """Place in the queue from 1; null unless queued."""
    wait_reason: str | None
    """Why a queued run does not start yet."""
    estimated_start: datetime | None
    """When a queued run starts by the expected ends of what runs; null where that cannot be known."""
    silent: bool
    """True: its lease is expired while Ray still runs it."""
    copied_from: str | None
    """The run whose edited copy this is; null also where not everybody who sees this run may see that one."""
    data: str
    """Source of the images: "digits", "image_folder"."""
    model: str
    method: str
    method_settings: dict[str, float | str]
    """The method's own fields: rho, k, alpha."""
    optimizer: str
    workers: int
    gpus_per_worker: int
    step: int
    """Optimizer steps completed."""
    total_steps: int | None
    epoch: float | None
    eta_seconds: float | None
    attempt: int | None
    """Number of the newest attempt; null before the first."""
    latest: dict[str, LatestValue]
    """By metric name."""
    created_at: datetime
    started_at: datetime | None
    cancel_requested_at: datetime | None
    ended_at: datetime | None
    status_at: datetime
    """Since when it has its status: how long it waits, trains, or stands paused."""
    archived_at: datetime | None
    """Null unless it was archived."""
    deleted_at: datetime | None
    """When it was deleted; it can be restored for a while. Null unless deleted."""


class Attempt(Answer):
    """One try at the run."""

    id: str
    number: int
    submission_id: str
    """Ray's name of the job."""
    world_size: int
    gpus_per_worker: int
    created_at: datetime
    submitted_at: datetime | None
    claimed_at: datetime | None
    first_step_at: datetime | None
    """Rank 0's clock at the end of its first optimizer step."""
    ended_at: datetime | None
    step: int
    resume_step: int | None
    valid_until_step: int | None
    """Points up to this step are valid; null: all are."""
    lease_age_seconds: float | None
    """Seconds of API service since the last sign of life; null before the claim and after the end."""
    doing: str | None
    environment: dict[str, Any] | None
    """Fingerprint: versions of Basin, Python, torch, timm, ray; host; devices by rank."""
    reason: EndReason | None
    sentence: str | None
    detail: str | None


class TimelineEvent(Answer):
    """A row of the timeline; also the data of the live event `event`."""

    id: int
    run_id: str
    attempt: int | None
    at: datetime
    kind: str
    actor: str
    text: str
    data: dict[str, Any]


class StateSpan(Answer):
    """One stay of a run in one status."""

    status: RunStatus
    began_at: datetime
    ended_at: datetime | None
    """Null: it is in it now, or for good."""
    seconds: float | None
    """How long it stayed, up to now where it still does; null for the status it ended in."""
    attempt: int | None
    """The attempt that it had come to with this status."""


class Run(RunSummary):
    """A run with everything a page shows."""

    spec: dict[str, Any]
    """The spec with its defaults filled in, as it was stored: a TrainingSpec."""
    request: dict[str, Any]
    """The submission as it was sent."""
    attempts: list[Attempt]
    """Oldest first."""
    notices: list[TimelineEvent]
    """What the trainer wanted a person to know, oldest first, the newest hundred."""
    states: list[StateSpan]
    """The statuses it went through, oldest first, and how long each took; the newest thousand."""


class RunPage(Answer):
    items: list[RunSummary]
    next_cursor: str | None
    """Pass it as `cursor` for the next page; null: this was the last."""


class DryRun(Answer):
    """What a submission would do; nothing is stored and nothing is sent."""

    name: str
    """As given; else the beginning of the name it would get."""
    spec: dict[str, Any]
    """The spec with its defaults filled in: a TrainingSpec."""
    total_steps: int | None
    """Optimizer steps; null where the length is in epochs and the number of images is not known here."""
    gradient_evaluations: int | None
    """Forward-backward passes over a global batch, those of the ascents included; null with `total_steps`."""
    position: int
    """Place it would get in the queue, from 1."""
    summary: str
    """One sentence for a person."""


class Study(Answer):
    """A group of runs, with what became of those that the caller may see."""

    name: str
    runs: int
    live: int
    """Not over yet."""
    succeeded: int
    failed: int
    newest_at: datetime
    """When the newest of its runs was submitted."""


class StudyList(Answer):
    items: list[Study]
    """The newest first, at most 200."""


class BulkRefusal(Answer):
    run_id: str
    detail: str


class CancelOutcome(Answer):
    """What became of each run, in the order of the request."""

    cancelled: list[str]
    """Cancelled, or told to save and end."""
    already_over: list[str]
    """Over, or being cancelled, before this request."""
    refused: list[BulkRefusal]
    """Not there, or not the caller's to cancel."""


class BulkOutcome(Answer):
    """What became of each run, in the order of the request."""

    changed: list[str]
    unchanged: list[str]
    """Was so before this request."""
    refused: list[BulkRefusal]
    """Not there, not the caller's to change, or in a state that does not allow it."""


class EventPage(Answer):
    items: list[TimelineEvent]
    """Oldest first."""
    next_after: int | None
    """Pass it as `after` for the next page; null: this was the last."""


class Series(Answer):
    """One metric, column by column; all columns are equally long."""

    name: str
    steps: list[int]
    values: list[float | None]
    """The value at that step; with buckets, the last one of the bucket."""
    minima: list[float | None] | None
    """Lowest finite value of each bucket; null where every point is there."""
    maxima: list[float | None] | None
    bucket_steps: int
    """Steps that one entry stands for; 1: every point is there."""


class MetricColumns(Answer):
    run_id: str
    series: list[Series]


class Checkpoint(Answer):
    """A complete checkpoint of a run."""

    step: int
    path: str
    """Its folder, relative to the storage root."""


class CheckpointList(Answer):
    storage: str
    """The storage root as the API sees it, an absolute folder."""
    items: list[Checkpoint]
    """Those that are valid and still on storage, newest first, at most 20."""


class MetricInfo(Answer):
    """An entry of the metric catalogue."""

    name: str
    title: str
    unit: str
    direction: Direction
    deterministic: bool
    group: Group
    description: str


class MetricsChange(Answer):
    """Data of the live event `metrics`: the numbers of one step."""

    run_id: str
    attempt: int
    step: int
    values: dict[str, float | None]


class LogTail(Answer):
    """The last lines of one log of an attempt."""

    source: str | None
    """Which log this is; null: there is none yet."""
    sources: list[str]
    """Logs there are: "driver", "rank-0", ..., "ray"."""
    lines: list[str]
    truncated: bool
    """True: there are earlier lines; with `after`: later ones, so ask again at once."""
    end: int
    """Bytes up to the end of `lines`: pass it as `after`, with the same `source`, for what follows."""


class Me(Answer):
    """Who is asking, and what they may do."""

    name: str
    role: Role
    may_submit: bool
    may_cancel_all: bool
    version: str


class Check(Answer):
    name: str
    ok: bool
    detail: str


class Readiness(Answer):
    ready: bool
    checks: list[Check]


class Health(Answer):
    status: Literal["ok"]
    version: str
    revision: str | None
    """Of the source, by git; null where it is not known."""


class Problem(BaseModel):
    """Every error, as application/problem+json (RFC 9457)."""

    model_config = ConfigDict(
        use_attribute_docstrings=True,
        extra="allow",
        json_schema_extra={
            "examples": [
                {
                    "type": "invalid",
                    "title": "The request has mistakes",
                    "status": 422,
                    "detail": "spec.method.rho is -1: must be >= 0. Change `rho`",
                    "errors": [
                        {
                            "path": "spec.method.rho",
                            "value": "-1",
                            "allowed": "must be >= 0",
                            "remedy": "Change `rho`",
                        }
                    ],
                }
            ]
        },
    )

    type: str
    """A fixed word for programs: "invalid", "not-found", "report-gap", "storage-not-shared", ..."""
    title: str
    status: int
    detail: str
    errors: list[SpecProblem] = []
    request_id: str | None = None
    """Of the request, as in its X-Request-ID header and in the API's log."""
