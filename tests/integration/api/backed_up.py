"""An installation that is backed up: a database with a storage, runs with checkpoints and logs."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Engine, text

from api.backup.manifest import STORAGE_FOLDER
from api.settings import Settings
from tests.integration.api.stack import Api, checkpoint, metrics, progress

TABLES = (
    "users", "tokens", "runs", "attempts", "report_marks", "metric_names", "metric_points", "checkpoints", "events",
    "storage_proof",
)  # fmt: skip


def silent(phase: str, done: int, total: int | None) -> None:
    pass


@dataclass(frozen=True)
class Place:
    """A database with a storage."""

    settings: Settings
    engine: Engine

    @property
    def storage(self) -> Path:
        return self.settings.storage

    def rows(self) -> dict[str, list[str]]:
        """Every row of the tables that a restore must bring back, as text."""
        with self.engine.connect() as connection:
            return {
                name: sorted(connection.execute(text(f"SELECT CAST(t AS text) FROM {name} AS t")).scalars())
                for name in TABLES
            }

    def files(self) -> dict[str, tuple[str, int]]:
        """Path -> hash and time of change."""
        found = [path for path in self.storage.rglob("*") if path.is_file()]
        return {
            path.relative_to(self.storage).as_posix(): (
                hashlib.sha256(path.read_bytes()).hexdigest(),
                path.stat().st_mtime_ns,
            )
            for path in found
        }


def save_checkpoint(storage: Path, run_id: str, step: int, content: bytes = b"weights") -> Path:
    """As the trainer does, with its manifest."""
    folder = storage / "runs" / run_id / "checkpoints" / f"step-{step:08d}"
    folder.mkdir(parents=True)
    (folder / "state.pt").write_bytes(content * 1000)
    digest = hashlib.sha256(content * 1000).hexdigest()
    files = {"state.pt": {"size_bytes": len(content) * 1000, "sha256": digest}}
    (folder / "manifest.json").write_text(json.dumps({"format": 1, "step": step, "files": files}))
    return folder


def live_run(api: Api, *, step: int = 50) -> str:
    """With metrics, a checkpoint and a log."""
    run_id = api.new_run(study="backups")
    trainer = api.start(run_id)
    save_checkpoint(api.settings.storage, run_id, step)
    reports = [metrics(1, step, train_loss=0.5, validation_top1=91.25), progress(2, step), checkpoint(3, step, run_id)]
    assert api.report(trainer, *reports).status_code == 200
    log = api.settings.storage / "runs" / run_id / "attempts" / "1" / "log" / "rank-0.log"
    log.parent.mkdir(parents=True)
    log.write_text("step 50\n")
    return run_id


def state_file(folder: Path) -> Path:
    return next((folder / STORAGE_FOLDER).rglob("state.pt"))
