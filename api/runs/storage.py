"""The storage root as the API sees it: the proof that it is shared, and where runs keep what.

The file `.basin-storage` proves that two processes see one storage. Its content is kept in the database too, so that a
mount point without its mount, or with another storage on it, is known for what it is: nothing is decided from what is
missing there.
"""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path, PurePosixPath

import structlog
from sqlalchemy import Engine, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from api.db.tables import Attempt, StorageProof
from api.errors import Unavailable

log = structlog.get_logger()

PROOF_NAME = ".basin-storage"
MAX_PROOF = 64
RUN_ID = re.compile(r"[a-z0-9]{1,16}")


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


def read_proof(storage: Path) -> str | None:
    """The content of `.basin-storage`; None where it cannot be read. Makes none; never raises."""
    try:
        return (storage / PROOF_NAME).read_text(encoding="utf-8").strip()[:MAX_PROOF] or None
    except (OSError, UnicodeDecodeError):
        return None


def settle_proof(engine: Engine, storage: Path) -> None:
    """At the start of the API: makes the proof of a new installation, and notes it in the database.

    A database or a storage that is away is logged and left to the first claim. Raises OSError if the proof of a new
    installation cannot be written.
    """
    try:
        with Session(engine) as session, session.begin():
            _make_first(session, storage)
            proof_of(session, storage)
    except SQLAlchemyError as error:
        log.warning("storage_not_settled", error=str(error).partition("\n")[0])
    except Unavailable:
        pass  # It is logged, and said again to whoever claims.


def proof_of(session: Session, storage: Path) -> str:
    """The proof that the storage holds, if it is the one of this database's runs; does not commit.

    Raises Unavailable where it is missing or another: the storage is not mounted, so whoever asks is to ask again.
    """
    kept, found = _kept(session), read_proof(storage)
    if kept is None and found is None:
        _make_first(session, storage)  # Read with the next try, by the trainer too.
    if kept is None and found is not None:
        # A database of an earlier version, or one that was away at the start. Of several at once the first counts.
        session.execute(insert(StorageProof).values(proof=found).on_conflict_do_nothing())
        kept = _kept(session)
    if found is not None and found == kept:
        return found
    why = _why_away(storage, kept, found)
    log.error("storage_away", why=why)
    raise Unavailable(why)


def is_there(session: Session, storage: Path) -> bool:
    """Whether the storage of this database's runs is mounted. Where it is not, nothing that is missing there may be
    taken for removed."""
    found = read_proof(storage)
    return found is not None and _kept(session) in (None, found)


def _kept(session: Session) -> str | None:
    return session.scalar(select(StorageProof.proof))


def _make_first(session: Session, storage: Path) -> None:
    """Only where nothing was ever trained: else an empty folder is a storage that is away, not a new one."""
    used = select(Attempt.id).where(Attempt.claimed_at.is_not(None)).limit(1)
    if _kept(session) is None and session.scalar(used) is None:
        ensure_proof(storage)


def _why_away(storage: Path, kept: str | None, found: str | None) -> str:
    proof = storage / PROOF_NAME
    replaced = f"; if it was replaced for good, write {kept!r} into the file" if kept is not None else ""
    if found is None:
        return f"{proof} cannot be read: mount the storage where the API and the Celery worker run{replaced}"
    return f"{proof} holds {found!r}, but this database's runs lie on the storage with {kept!r}: mount that{replaced}"


def run_folder(storage: Path, run_id: str) -> Path | None:
    """Where the run's files lie; None if that would not be a folder of its own directly below `runs/`."""
    folder = storage / "runs" / run_id
    if not RUN_ID.fullmatch(run_id) or folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        return None
    root = storage.resolve()
    return folder if folder.resolve() == root / "runs" / run_id else None


def attempt_folder(storage: Path, run_id: str, number: int) -> Path:
    return storage / "runs" / run_id / "attempts" / str(number)


def is_checkpoint_path(path: str, run_id: str) -> bool:
    """Whether `path`, relative to the root, lies among the run's own checkpoints."""
    parts = PurePosixPath(path).parts
    return parts[:3] == ("runs", run_id, "checkpoints") and len(parts) == 4 and ".." not in parts and "\0" not in path
