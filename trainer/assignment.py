"""What a process of an attempt knows after the claim, and where it puts its files. Loads neither torch nor ray."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from trainer.contract.reports import Claim, LaunchPayload, Writer


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """One attempt, from the API's answer to the claim. Travels to the ranks by pickle."""

    claim: Claim
    api_url: str
    spool: str | None
    """Node-local folder for spools; None: the system's temporary folder."""
    log_format: str = "text"
    """As in `LaunchPayload`."""

    @classmethod
    def of(cls, payload: LaunchPayload, claim: Claim) -> Assignment:
        return cls(claim=claim, api_url=payload.api_url, spool=payload.spool, log_format=payload.log_format)

    @property
    def storage(self) -> Path:
        return Path(self.claim.storage)

    @property
    def run_folder(self) -> Path:
        """Holds `checkpoints/`, shared by all attempts of the run."""
        return self.storage / "runs" / self.claim.run_id

    @property
    def attempt_folder(self) -> Path:
        return self.run_folder / "attempts" / str(self.claim.attempt_number)

    def log_path(self, process: str) -> Path:
        """`process` is "driver" or "rank-<n>"."""
        return self.attempt_folder / "log" / f"{process}.log"

    def log_fields(self, process: str) -> dict[str, str | int]:
        """What each line of that process's log carries where it is a JSON object."""
        claim = self.claim
        return {
            "run": claim.run_id, "attempt": claim.attempt_number, "attempt_id": claim.attempt_id, "process": process,
        }  # fmt: skip

    def unsent_path(self, writer: Writer) -> Path:
        """Reports that could not be delivered before the process ended; reconcile takes them in."""
        return self.attempt_folder / f"unsent-{writer}.jsonl"

    def spool_path(self, writer: Writer) -> Path:
        folder = Path(self.spool) if self.spool else Path(tempfile.gettempdir()) / "basin-spool"
        return folder / f"{self.claim.attempt_id}-{writer}.jsonl"

    def resume_folders(self) -> list[Path]:
        """Checkpoints to resume from, newest first; their paths are relative to the storage root."""
        return [self.storage / point.path for point in self.claim.resume]

    def initial_folders(self) -> list[Path]:
        """Checkpoints of the run that `model.init_from.run` names, newest first."""
        return [self.storage / point.path for point in self.claim.initial]

    @property
    def deliver_seconds(self) -> float:
        """How long rank 0 tries to deliver its last reports before it stores them; the driver tries twice as long."""
        return self.timeout("deliver", 10.0)

    def timeout(self, name: str, default: float) -> float:
        """Seconds; `name` is "join", "hang" or "deliver"."""
        return self.claim.timeouts.get(name, default)
