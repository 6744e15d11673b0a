"""The storage root as the API sees it: the proof that it is shared, and where runs keep what."""

from __future__ import annotations

import os
import secrets
from pathlib import Path, PurePosixPath

PROOF_NAME = ".basin-storage"


def ensure_proof(storage: Path) -> str:
    """The content of `.basin-storage`, made at random when missing; the same for all who ask. Raises OSError."""
    storage.mkdir(parents=True, exist_ok=True)
    proof = storage / PROOF_NAME
    if not proof.exists():
        # A whole file appears at once: linking fails if another process was first, and then theirs counts.
        draft = storage / f"{PROOF_NAME}.{secrets.token_hex(8)}"
        draft.write_text(secrets.token_hex(16), encoding="ascii")
        try:
            os.link(draft, proof)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return proof.read_text(encoding="ascii").strip()


def has_proof(storage: Path) -> bool:
    """Whether `.basin-storage` is there. Where it is not, the storage may not be mounted, and nothing that is missing
    there may be taken for removed. Makes none; never raises."""
    try:
        return (storage / PROOF_NAME).is_file()
    except OSError:
        return False


def attempt_folder(storage: Path, run_id: str, number: int) -> Path:
    return storage / "runs" / run_id / "attempts" / str(number)


def is_checkpoint_path(path: str, run_id: str) -> bool:
    """Whether `path`, relative to the root, lies among the run's own checkpoints."""
    parts = PurePosixPath(path).parts
    return parts[:3] == ("runs", run_id, "checkpoints") and len(parts) == 4 and ".." not in parts and "\0" not in path
