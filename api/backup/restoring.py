"""Brings a backup back: everything is verified and the files are beside their places before anything is overwritten.

    1. The backup's every byte is compared with its manifest.
    2. Its files are copied to `.restoring-...` on the storage, and compared once more as they are written.
    3. The database is replaced in one transaction.
    4. The files change places with what was there, by renames.

A failure before 4 leaves everything as it was. One of 4, or a crash there, leaves the new rows with the old files: the
same command with `--replace` repairs that.
"""

from __future__ import annotations

import secrets
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, select, text
from sqlalchemy.exc import ProgrammingError, SQLAlchemyError
from sqlalchemy.orm import Session

from api.backup.making import secret_mark
from api.backup.manifest import (
    DATABASE_FILE,
    STORAGE_FOLDER,
    BackupRefused,
    Manifest,
    RestoredInPart,
    Tell,
    check_hashes,
    check_sizes,
    read_manifest,
)
from api.backup.placing import change_places, copy_beside, free_bytes, sweep
from api.backup.postgres_tools import PostgresTools
from api.db.engine import first_line, make_engine
from api.db.migrate import known_revisions, migrate
from api.db.tables import Run
from api.runs.collection import REPLACED_PREFIX, RESTORING_PREFIX
from api.settings import Settings

SEEN_ELSEWHERE = ("heartbeats", "cluster_nodes", "canaries", "diagnosis_parts")
"""What was seen of the cluster and of the parts was seen of another one. Drained hosts are no such thing: an admin
wished it, of a machine by its name."""
# In the transaction that loads the dump, so that no crash leaves half of it; an older dump may lack some of the tables.
# Positions in the live stream are from another time: every page fetches anew.
FORGET = f"""
DO $$ DECLARE seen text; BEGIN
    FOREACH seen IN ARRAY ARRAY[{", ".join(f"'{name}'" for name in SEEN_ELSEWHERE)}] LOOP
        IF to_regclass('public.' || seen) IS NOT NULL THEN EXECUTE format('DELETE FROM public.%I', seen); END IF;
    END LOOP;
    IF to_regclass('public.change_log') IS NOT NULL THEN UPDATE public.change_log SET lineage = ''; END IF;
END $$
"""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a restore will do, for a person to agree to."""

    made_at: str
    basin_version: str
    migration: str
    rows: dict[str, int]
    files: int
    bytes: int
    """Of the storage."""
    database: str
    """Where to, without its password."""
    storage: str
    runs_there: int
    """Rows that will be gone."""
    files_there: bool
    """Whether the storage holds runs that will be gone."""
    warnings: tuple[str, ...] = ()

    @property
    def replaces(self) -> bool:
        return bool(self.runs_there or self.files_there)

    def document(self) -> dict[str, Any]:
        return {**asdict(self), "replaces": self.replaces}


def plan_restore(settings: Settings, folder: Path) -> Plan:
    """Looks at the backup's manifest and sizes, and at what is there now; changes nothing. Raises BackupRefused."""
    manifest = read_manifest(folder)
    if manifest.migration not in known_revisions():
        raise BackupRefused(
            f"the backup is of Basin {manifest.basin_version}, whose tables ({manifest.migration}) this version does"
            " not know: install that version or a newer one"
        )
    check_sizes(folder, manifest)
    engine = make_engine(settings, application="basin-restore", pool_size=1)
    try:
        _must_be_alone(engine)
        runs_there = _runs_there(engine)
        major = _major_version(engine)
        url = engine.url
    finally:
        engine.dispose()
    if major < manifest.postgres_version:
        raise BackupRefused(
            f"the backup is of PostgreSQL {manifest.postgres_version} and the server is {major}: restore to a server of"
            f" version {manifest.postgres_version} or newer"
        )
    _must_have_room(settings.storage, manifest)
    warnings = []
    if manifest.secret_mark != secret_mark(settings):
        warnings.append(
            "BASIN_SECRET is not the one of the backup: people's tokens hold, but logins in browsers end and every"
            " webhook has another secret (`basin webhook rotate` shows it); set the old one to avoid that"
        )
    return Plan(
        made_at=manifest.made_at.isoformat(timespec="seconds"),
        basin_version=manifest.basin_version,
        migration=manifest.migration,
        rows=manifest.rows,
        files=len(manifest.files),
        bytes=manifest.storage_bytes,
        database=f"{url.database} on {url.host or 'this machine'}:{url.port or 5432}",
        storage=str(settings.storage),
        runs_there=runs_there,
        files_there=_has_runs(settings.storage),
        warnings=tuple(warnings),
    )


def verify_backup(settings: Settings, folder: Path, tell: Tell) -> Manifest:
    """Reads all of it. Raises BackupRefused where a byte is not as it was saved."""
    manifest = read_manifest(folder)
    check_hashes(folder, manifest, tell)
    _tools(settings, manifest).check(folder / DATABASE_FILE)
    return manifest


def restore(settings: Settings, folder: Path, tell: Tell, *, replace: bool) -> Manifest:
    """Makes database and storage what they were. Raises BackupRefused or OSError, after which all is as it was, or
    RestoredInPart.

    `replace`: also where there are runs already, which are gone then.
    """
    plan = plan_restore(settings, folder)
    if plan.replaces and not replace:
        raise BackupRefused(
            f"there are {plan.runs_there} runs in {plan.database} and"
            f" {'files' if plan.files_there else 'no files'} of runs in {plan.storage}: --replace removes them"
        )
    manifest = verify_backup(settings, folder, tell)
    tools = _tools(settings, manifest)
    mark = secrets.token_hex(4)
    fresh, old = settings.storage / f"{RESTORING_PREFIX}{mark}", settings.storage / f"{REPLACED_PREFIX}{mark}"
    engine = make_engine(settings, application="basin-restore", pool_size=1)
    try:
        sweep(settings.storage)
        copy_beside(folder / STORAGE_FOLDER, fresh, manifest.files, tell)
        _must_be_alone(engine)  # Once more: copying may have taken hours.
        tell("database", 0, None)
        tools.load(folder / DATABASE_FILE, FORGET)
        _finish(engine, settings.storage, fresh, old)
    finally:
        engine.dispose()
        shutil.rmtree(fresh, ignore_errors=True)
    return manifest


def _finish(engine: Engine, storage: Path, fresh: Path, old: Path) -> None:
    """All that comes after the database is replaced. Raises RestoredInPart."""
    try:
        change_places(storage, fresh, old)
    except OSError as error:
        raise RestoredInPart(
            f"the database is restored and the files in {storage} are not ({error.filename}: {error.strerror}): start"
            " nothing, mend that, and run the same command with --replace"
        ) from error
    shutil.rmtree(old, ignore_errors=True)
    try:
        migrate(engine)
    except SQLAlchemyError as error:
        raise RestoredInPart(
            f"database and files are restored, but the database was not migrated to this version ({first_line(error)}):"
            " run `python -m api.db.migrate` before anything is started"
        ) from error


def _tools(settings: Settings, manifest: Manifest) -> PostgresTools:
    return PostgresTools(settings.database_url, at_least=manifest.postgres_version, given=settings.postgres_bin)


def _must_be_alone(engine: Engine) -> None:
    others = text(
        "SELECT DISTINCT application_name FROM pg_stat_activity WHERE datname = current_database()"
        " AND pid <> pg_backend_pid() AND application_name IN ('basin-api', 'basin-worker', 'basin-migrate')"
    )
    with engine.connect() as connection:
        found = sorted(connection.execute(others).scalars())
    if found:
        raise BackupRefused(
            f"{' and '.join(found)} {'is' if len(found) == 1 else 'are'} connected to the database: stop API, Celery"
            " worker, beat and Ray first, so that nobody writes meanwhile"
        )


def _runs_there(engine: Engine) -> int:
    """Runs in the database; 0 where it has no tables."""
    try:
        with Session(engine) as session:
            return len(session.scalars(select(Run.id)).all())
    except ProgrammingError:
        return 0


def _major_version(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(text("SHOW server_version_num")).scalar_one()) // 10_000


def _has_runs(storage: Path) -> bool:
    try:
        return any((storage / "runs").iterdir())
    except OSError:
        return False


def _must_have_room(storage: Path, manifest: Manifest) -> None:
    try:
        storage.mkdir(parents=True, exist_ok=True)
        free = free_bytes(storage)
    except OSError as error:
        raise BackupRefused(f"{storage} cannot be used ({error.strerror}): mount the storage") from None
    if free < manifest.storage_bytes:
        raise BackupRefused(
            f"{storage} has {free:,} bytes free and {manifest.storage_bytes:,} are needed: make room; what is there"
            " goes only after the new files are complete"
        )
