"""Makes a backup while everything runs: the database as one snapshot shows it, then the files, then a check of both.

A live run removes old checkpoints as it saves new ones. So the newest one that the snapshot names is copied before the
dump, for every live run, and afterwards the copy must hold what the snapshot's runs would go on from; else both are
done again.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from sqlalchemy import Connection, create_engine, func, select, table, text
from sqlalchemy.orm import Session

from api.backup.copying import Base, StorageCopy
from api.backup.manifest import (
    DATABASE_FILE,
    FORMAT,
    MANIFEST_FILE,
    STORAGE_FOLDER,
    UNFINISHED,
    BackupRefused,
    Manifest,
    Tell,
    is_whole,
    read_manifest,
    sha256_of_file,
    write_manifest,
)
from api.backup.postgres_tools import PostgresTools
from api.db.migrate import current_revision
from api.db.tables import Run
from api.runs.checkpoints import stored_checkpoints
from api.runs.status import TERMINAL
from api.runs.storage import PROOF_NAME, is_there
from api.settings import Settings
from trainer.contract.build import source_revision

COUNTED = ("users", "tokens", "runs", "attempts", "metric_points", "events", "checkpoints", "webhooks")
TRIES = 3


@dataclass(frozen=True, kw_only=True)
class Made:
    """A backup that is whole."""

    manifest: Manifest
    linked: int
    """Files that it shares with the backup before it."""
    base: str | None
    """The folder of that one."""


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """What the database named at one moment, and was on the storage then."""

    id: str
    migration: str
    postgres_version: int
    rows: dict[str, int]
    checkpoints: dict[str, list[str]]
    """Run id -> folders of its checkpoints, newest first."""
    live: frozenset[str]


def make_backup(settings: Settings, folder: Path, tell: Tell) -> Made:
    """Fills `folder`, which must be new, empty, or left by a backup that was cut off. May take hours.

    The newest whole backup beside it lends what has not changed. Raises BackupRefused or OSError; then `folder` holds
    nothing that counts as a backup.
    """
    _prepare(settings, folder)
    base = _base_beside(folder)
    copy = StorageCopy(settings.storage, folder, base, tell)
    for _ in range(TRIES):
        with _connected(settings) as connection:
            seen = _snapshot(connection, settings.storage)
            for run_id in sorted(seen.live & seen.checkpoints.keys()):
                copy.take_folder(seen.checkpoints[run_id][0])
            tell("database", 0, None)
            tools = PostgresTools(settings.database_url, at_least=seen.postgres_version, given=settings.postgres_bin)
            dump = folder / DATABASE_FILE
            dump.unlink(missing_ok=True)
            tools.dump(dump, seen.id)
            dump.chmod(0o600)
        copy.take_all()
        lost = [run_id for run_id in seen.checkpoints if not _may_go_on(settings, folder, copy, seen, run_id)]
        if not lost:
            break
    else:
        raise BackupRefused(
            f"the checkpoints of {', '.join(lost[:3])} changed faster than they could be copied, {TRIES} times:"
            f" pause {'it' if len(lost) == 1 else 'them'} (`basin run pause`) and make the backup again"
        )
    if PROOF_NAME not in copy.files:
        raise BackupRefused(f"{settings.storage / PROOF_NAME} went away during the backup: mount the storage")
    tools.check(dump)
    manifest = Manifest(
        format=FORMAT,
        made_at=datetime.now(UTC),
        basin_version=version("basin"),
        source_revision=source_revision(),
        migration=seen.migration,
        postgres_version=seen.postgres_version,
        secret_mark=secret_mark(settings),
        rows=seen.rows,
        database_bytes=dump.stat().st_size,
        database_sha256=sha256_of_file(dump),
        files=[copy.files[path] for path in sorted(copy.files)],
    )
    write_manifest(folder, manifest)
    return Made(manifest=manifest, linked=copy.linked, base=str(base.folder) if base else None)


def secret_mark(settings: Settings) -> str:
    return hmac.new(settings.secret.get_secret_value().encode(), b"backup", hashlib.sha256).hexdigest()[:16]


def _prepare(settings: Settings, folder: Path) -> None:
    if folder.is_relative_to(settings.storage) or settings.storage.is_relative_to(folder):
        raise BackupRefused(f"{folder} and the storage {settings.storage} lie in each other: choose another folder")
    if (folder / MANIFEST_FILE).exists() and not (folder / UNFINISHED).exists():
        raise BackupRefused(f"{folder} holds a backup already: name a new folder, e.g. one with the day in its name")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    left = {path.name for path in folder.iterdir()}
    if left and UNFINISHED not in left:
        raise BackupRefused(f"{folder} is not empty ({', '.join(sorted(left)[:3])}): name a new folder")
    (folder / UNFINISHED).touch(mode=0o600)
    for name in (STORAGE_FOLDER, DATABASE_FILE, MANIFEST_FILE, f".{MANIFEST_FILE}"):
        path = folder / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    (folder / STORAGE_FOLDER).mkdir(mode=0o700)


def _base_beside(folder: Path) -> Base | None:
    """The newest whole backup among the folders beside it."""
    found = []
    for other in folder.absolute().parent.iterdir():
        if other != folder.absolute() and other.is_dir() and is_whole(other):
            try:
                found.append((read_manifest(other), other))
            except BackupRefused:
                continue
    if not found:
        return None
    manifest, other = max(found, key=lambda pair: pair[0].made_at)
    return Base.of(other, manifest)


@contextmanager
def _connected(settings: Settings) -> Iterator[Connection]:
    """A connection whose one snapshot may stand for as long as a dump takes. It writes nothing, so it holds up no
    live stream."""
    options = "-c statement_timeout=0 -c idle_in_transaction_session_timeout=0 -c timezone=UTC"
    engine = create_engine(
        settings.database_url,
        isolation_level="REPEATABLE READ",
        connect_args={"connect_timeout": 10, "application_name": "basin-backup", "options": options},
    )
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def _snapshot(connection: Connection, storage: Path) -> Snapshot:
    migration = current_revision(connection)
    if migration is None:
        raise BackupRefused("the database has no tables of Basin: check BASIN_DATABASE_URL")
    session = Session(connection)
    if not is_there(session, storage):
        raise BackupRefused(f"{storage / PROOF_NAME} is missing or another's: mount the storage of this database")
    kept = select(Run.id, Run.status).where(Run.deleted_at.is_(None)).order_by(Run.id)
    runs = dict(session.execute(kept).all())
    checkpoints = {run_id: [point.path for point in stored_checkpoints(session, storage, run_id)] for run_id in runs}
    return Snapshot(
        id=connection.execute(text("SELECT pg_export_snapshot()")).scalar_one(),
        migration=migration,
        postgres_version=int(connection.execute(text("SHOW server_version_num")).scalar_one()) // 10_000,
        rows={name: connection.execute(select(func.count()).select_from(table(name))).scalar_one() for name in COUNTED},
        checkpoints={run_id: paths for run_id, paths in checkpoints.items() if paths},
        live=frozenset(run_id for run_id, status in runs.items() if status not in TERMINAL),
    )


def _may_go_on(settings: Settings, folder: Path, copy: StorageCopy, seen: Snapshot, run_id: str) -> bool:
    """Whether the copy has the checkpoints of a run that is over, or the newest one of a run that is live."""
    paths = seen.checkpoints[run_id][: 1 if run_id in seen.live else None]
    return all(_is_complete(folder, copy, path) or _is_faithful(settings.storage, copy, path) for path in paths)


def _is_complete(folder: Path, copy: StorageCopy, checkpoint: str) -> bool:
    """Whether all files that the checkpoint's own manifest names are in the copy, with their hashes."""
    try:
        named = json.loads((folder / STORAGE_FOLDER / checkpoint / MANIFEST_FILE).read_bytes())["files"]
        return all(copy.files[f"{checkpoint}/{name}"].sha256 == about["sha256"] for name, about in named.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _is_faithful(storage: Path, copy: StorageCopy, checkpoint: str) -> bool:
    """Whether the copy has whatever files are there: one that is torn on the storage is so in the copy."""
    try:
        there = [path for path in (storage / checkpoint).iterdir() if path.is_file()]
    except OSError:
        return False
    return bool(there) and all(path.relative_to(storage).as_posix() in copy.files for path in there)
