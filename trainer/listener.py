"""What the training loop tells, and what it returns at the end. Loads no torch.

The loop knows neither the API nor a terminal: the reporter of a run on Ray and the progress bar of `python -m trainer`
both implement `Listener`. Only rank 0's listener is called. A method that raises ends the training with its error.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from trainer.contract.ends import EndReason


class Listener(Protocol):
    """Steps are counted as steps completed: the first step's numbers carry 1."""

    def metrics(self, step: int, values: dict[str, float]) -> None:
        """Numbers of one step, by the names of the metric catalogue; at most one call a step, in ascending order."""

    def progress(self, step: int, total_steps: int, epoch: float) -> None:
        """After every step (and once after a resume); must be cheap."""

    def first_step(self) -> None:
        """At the end of this process's first optimizer step."""

    def before_checkpoint(self, step: int, folder: Path) -> None:
        """Inside the temporary folder, before manifest and rename: files written here belong to the checkpoint."""

    def checkpoint(self, step: int, path: Path, size_bytes: int) -> None:
        """After the rename: the checkpoint is complete."""

    def notice(self, code: str, text: str, step: int) -> None:
        """A sentence for the run's timeline."""


class Silence:
    """A listener that keeps nothing: for ranks other than 0, and for callers who only want the outcome."""

    def metrics(self, step: int, values: dict[str, float]) -> None: ...
    def progress(self, step: int, total_steps: int, epoch: float) -> None: ...
    def first_step(self) -> None: ...
    def before_checkpoint(self, step: int, folder: Path) -> None: ...
    def checkpoint(self, step: int, path: Path, size_bytes: int) -> None: ...
    def notice(self, code: str, text: str, step: int) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How the loop ended when no `TrainerError` ended it: `completed` or `cancelled_by_user`."""

    reason: EndReason
    step: int
    """Steps completed."""
    detail: str = ""
    numbers: dict[str, float] = field(default_factory=dict)
    """The last known value of every metric."""
    gradient_evaluations: int = 0
