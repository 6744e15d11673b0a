"""What the API answers, as the command line reads it. Fields that this version does not know are kept for --json."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from trainer.contract.ends import EndReason

STATUSES = (
    "queued", "launching", "running", "pausing", "paused", "cancelling", "succeeded", "failed", "cancelled",
)  # fmt: skip
TERMINAL = frozenset({"succeeded", "failed", "cancelled"})


class View(BaseModel):
    """Base: answers are read only, and a newer API may say more."""

    model_config = ConfigDict(extra="allow", frozen=True)


class LatestValue(View):
    """The newest value of a metric and the best so far."""

    step: int
    value: float | None = None
    best: float | None = None


class RunView(View):
    """A run: a row of the list, or with `spec`, `request` and `attempts` the whole."""

    id: str
    name: str
    status: str
    project: str = "default"
    visibility: str = "team"
    study: str | None = None
    priority: int = 0
    copied_from: str | None = None
    reason: EndReason | None = None
    sentence: str | None = None
    detail: str | None = None
    position: int | None = None
    wait_reason: str | None = None
    estimated_start: datetime | None = None
    silent: bool = False
    model: str = ""
    method: str = ""
    user: str = ""
    workers: int = 1
    step: int = 0
    total_steps: int | None = None
    epoch: float | None = None
    eta_seconds: float | None = None
    attempt: int | None = None
    latest: dict[str, LatestValue] = {}
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    status_at: datetime | None = None
    archived_at: datetime | None = None
    deleted_at: datetime | None = None

    @property
    def is_over(self) -> bool:
        return self.status in TERMINAL

    def value(self, metric: str) -> float | None:
        latest = self.latest.get(metric)
        return latest.value if latest else None

    def best(self, metric: str) -> float | None:
        latest = self.latest.get(metric)
        return latest.best if latest else None

    @property
    def spec(self) -> dict[str, Any]:
        """With defaults filled in; empty in a row of the list."""
        return dict((self.model_extra or {}).get("spec") or {})

    @property
    def request(self) -> dict[str, Any]:
        """The submission as it was sent; empty in a row of the list."""
        return dict((self.model_extra or {}).get("request") or {})


class RunPage(View):
    items: list[RunView]
    next_cursor: str | None = None


class StudyView(View):
    """Runs that were submitted under one name."""

    name: str
    runs: int = 0
    live: int = 0
    succeeded: int = 0
    failed: int = 0
    newest_at: datetime | None = None


class StudyPage(View):
    items: list[StudyView]


class UserView(View):
    """A user with their quotas, as they hold, and their use; null is no limit."""

    name: str
    role: str
    weight: float = 1.0
    max_workers: int | None = None
    max_queued_runs: int | None = None
    gpu_hours_per_month: float | None = None
    queued_runs: int = 0
    gpu_hours_this_month: float = 0.0


class UserPage(View):
    items: list[UserView]


class DryRun(View):
    """What a submission would become."""

    name: str
    spec: dict[str, Any]
    total_steps: int | None = None
    gradient_evaluations: int | None = None
    position: int | None = None
    summary: str


class Refused(View):
    """A run that a bulk request left as it was."""

    run_id: str
    detail: str


class BulkCancel(View):
    cancelled: list[str]
    already_over: list[str]
    refused: list[Refused]


class BulkChange(View):
    """What became of each run of a bulk request."""

    changed: list[str]
    unchanged: list[str]
    refused: list[Refused]


class LogTail(View):
    """Lines of one log of an attempt; `end` is the offset at which they end."""

    source: str | None = None
    sources: list[str] = []
    lines: list[str] = []
    truncated: bool = False
    end: int | None = None


class CheckpointView(View):
    """`path` is a folder below the storage root."""

    step: int
    path: str


class Checkpoints(View):
    storage: str
    """The storage root, an absolute folder of the API's machine."""
    items: list[CheckpointView]


class Change(BaseModel):
    """One event of the live stream: `run` carries a run, `metrics` the numbers of a step."""

    kind: str
    data: dict[str, Any]
