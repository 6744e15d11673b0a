"""How the storage is at this moment: readable, writable, how full. A network file system may hang, so `Probe` asks."""

from __future__ import annotations

import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path

from api.runs.probe import Probe
from api.runs.storage import read_proof

PROBE_NAME = ".basin-probe"
LEAST_FREE_BYTES = 2**30
LEAST_FREE_FRACTION = 0.05
"""Less free space than both of these is too little: a checkpoint may not fit any more."""


@dataclass(frozen=True, kw_only=True)
class StorageState:
    proof: str | None
    """What its `.basin-storage` holds; null: it cannot be read."""
    write_error: str | None
    """Why a small file could not be written; null: it could."""
    free_bytes: int
    size_bytes: int

    @property
    def is_nearly_full(self) -> bool:
        return self.free_bytes < min(LEAST_FREE_BYTES, LEAST_FREE_FRACTION * self.size_bytes)


def storage_probe(storage: Path) -> Probe[StorageState]:
    return Probe("storage", lambda: storage_state(storage), fresh_seconds=5.0, patience_seconds=3.0)


def storage_state(storage: Path) -> StorageState:
    """Raises OSError where there is no such folder."""
    space = shutil.disk_usage(storage)
    return StorageState(
        proof=read_proof(storage), write_error=_write_error(storage), free_bytes=space.free, size_bytes=space.total
    )


def _write_error(storage: Path) -> str | None:
    path = storage / f"{PROBE_NAME}-{secrets.token_hex(8)}"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(descriptor, b"probe\n")
        finally:
            os.close(descriptor)
            path.unlink()
    except OSError as error:
        return error.strerror or type(error).__name__
    return None
