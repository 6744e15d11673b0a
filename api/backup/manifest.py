"""What a backup is: a folder that is whole once its manifest is there, which names every other file with its hash.

database.dump    PostgreSQL's custom format, of one snapshot
storage/         the files of BASIN_STORAGE: checkpoints, logs, artifacts, `.basin-storage`
manifest.json    what was saved, when, by which version; size and SHA-256 of every file. Written last
unfinished       only while the backup is being made, and in one that was cut off
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable
from datetime import datetime
from pathlib import Path, PurePosixPath

from pydantic import BaseModel, ConfigDict, Field, ValidationError

FORMAT = 1
MANIFEST_FILE = "manifest.json"
DATABASE_FILE = "database.dump"
STORAGE_FOLDER = "storage"
UNFINISHED = "unfinished"
NOT_OURS = ("lost+found",)
"""In a storage that is a filesystem of its own: only root may look into it, and nothing of ours is there."""
CHUNK = 1 << 20
MAX_NAMED = 3

Tell = Callable[[str, int, int | None], None]
"""Is told how far a phase is: its name, what is done of it, and how much it is (None: not known)."""


class BackupRefused(Exception):
    """Nothing was overwritten; the message says what is wrong and what to do."""


class RestoredInPart(Exception):
    """The database is the backup's, and the rest is not yet; the message says what is missing and what to do."""


class SavedFile(BaseModel):
    """A file of the storage as it was copied."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    path: str
    """Relative to the storage, with slashes."""
    bytes: int = Field(ge=0)
    sha256: str
    mtime_ns: int
    """Of the original, by which the next backup knows that it has not changed."""


class Manifest(BaseModel):
    """What a backup holds. Fields of later versions are passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    format: int
    made_at: datetime
    basin_version: str
    source_revision: str | None
    """Git's, where it was known."""
    migration: str
    """Alembic's revision of the database."""
    postgres_version: int
    """Of the server, its major version."""
    secret_mark: str
    """Tells whether BASIN_SECRET is still the same, and nothing about it."""
    rows: dict[str, int]
    """How many rows the tables that matter had."""
    database_bytes: int
    database_sha256: str
    files: list[SavedFile]

    @property
    def storage_bytes(self) -> int:
        return sum(file.bytes for file in self.files)


def is_whole(folder: Path) -> bool:
    return (folder / MANIFEST_FILE).is_file() and not (folder / UNFINISHED).exists()


def read_manifest(folder: Path) -> Manifest:
    """Raises BackupRefused where the folder is no whole backup that this version can read."""
    path = folder / MANIFEST_FILE
    if (folder / UNFINISHED).exists():
        raise BackupRefused(f"{folder} holds a backup that was cut off: use another one, or make it again")
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise BackupRefused(f"{folder} holds no backup: there is no {MANIFEST_FILE}; give the folder of one") from None
    except (OSError, ValueError) as error:
        raise BackupRefused(f"{path} cannot be read ({_why(error)}): use another backup") from None
    found = document.get("format") if isinstance(document, dict) else None
    if found != FORMAT:
        raise BackupRefused(
            f"{path} is of format {found!r}, this version reads {FORMAT}: install the version that made it"
        )
    try:
        manifest = Manifest.model_validate(document)
    except ValidationError as error:
        raise BackupRefused(f"{path} is damaged ({error.error_count()} wrong fields): use another backup") from None
    for file in manifest.files:
        parts = PurePosixPath(file.path).parts
        if not parts or ".." in parts or file.path.startswith("/") or "\0" in file.path:
            raise BackupRefused(f"{path} names {file.path!r}, which lies outside the storage: use another backup")
    return manifest


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Makes the backup whole: everything is on the disk before the manifest is, and the manifest appears at once."""
    os.sync()
    draft = folder / f".{MANIFEST_FILE}"
    with draft.open("w", encoding="utf-8") as file:
        file.write(manifest.model_dump_json(indent=1) + "\n")
        file.flush()
        os.fsync(file.fileno())
    draft.replace(folder / MANIFEST_FILE)
    (folder / UNFINISHED).unlink()
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_sizes(folder: Path, manifest: Manifest) -> None:
    """A quick look: every file is there and as long as it was. Raises BackupRefused, naming the first that are not."""
    wrong = []
    for path, size in _expected(folder, manifest):
        try:
            about = path.lstat()
            if not stat.S_ISREG(about.st_mode) or about.st_size != size:
                wrong.append(f"{path.relative_to(folder)} has {about.st_size} bytes and should have {size}")
        except OSError as error:
            wrong.append(f"{path.relative_to(folder)} cannot be read ({_why(error)})")
    _refuse_if(folder, wrong)


def check_hashes(folder: Path, manifest: Manifest, tell: Tell) -> None:
    """Reads every byte. Raises BackupRefused, naming the first files that are not as they were saved."""
    check_sizes(folder, manifest)
    total, done, wrong = manifest.database_bytes + manifest.storage_bytes, 0, []
    hashes = {folder / STORAGE_FOLDER / file.path: file.sha256 for file in manifest.files}
    hashes[folder / DATABASE_FILE] = manifest.database_sha256
    for path, size in _expected(folder, manifest):
        tell("verify", done, total)
        try:
            if sha256_of_file(path) != hashes[path]:
                wrong.append(f"{path.relative_to(folder)} is not as it was saved")
        except OSError as error:
            wrong.append(f"{path.relative_to(folder)} cannot be read ({_why(error)})")
        done += size
    tell("verify", total, total)
    _refuse_if(folder, wrong)


def sha256_of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _expected(folder: Path, manifest: Manifest) -> list[tuple[Path, int]]:
    files = [(folder / STORAGE_FOLDER / file.path, file.bytes) for file in manifest.files]
    return [(folder / DATABASE_FILE, manifest.database_bytes), *files]


def _refuse_if(folder: Path, wrong: list[str]) -> None:
    if not wrong:
        return
    more = f", and {len(wrong) - MAX_NAMED} more" if len(wrong) > MAX_NAMED else ""
    raise BackupRefused(f"the backup in {folder} is damaged: {'; '.join(wrong[:MAX_NAMED])}{more}. Use another one")


def _why(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
