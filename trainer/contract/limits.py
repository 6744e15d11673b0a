"""The spec's `limits` section: when the service gives a run up."""

from __future__ import annotations

from pydantic import AwareDatetime, Field

from trainer.contract.spec_part import SpecPart

MAX_SECONDS = 10 * 366 * 86_400.0


class Limits(SpecPart):
    """What a run may use up; the service watches it, a trainer on its own does not. None of it changes the numbers."""

    max_failures: int | None = Field(default=None, ge=0, le=1_000)
    """Failed attempts that are tolerated since the last newer checkpoint. 0: the first ends the run. Off (null): the
    service's setting."""
    time_limit_seconds: float | None = Field(default=None, gt=0, le=MAX_SECONDS)
    """Seconds of training over all attempts, from each one's claim; waiting and pausing do not count. Then the run
    saves a checkpoint and ends as failed. Off (null)."""
    deadline: AwareDatetime | None = Field(default=None, examples=["2030-01-01T08:00:00Z"])
    """A moment with its offset from UTC, in the future, by the database's clock: whatever has not ended by then saves a
    checkpoint, if it runs, and ends as failed. Off (null)."""
