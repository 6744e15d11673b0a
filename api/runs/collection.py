"""What is kept no longer than an installation wants: logs, points of archived runs, events, deliveries, leftovers.

Each kind knows what it would take, and takes it in bounded batches. What a setting does not name is kept for ever, and
nothing on the storage is touched while its proof is missing: what is not there may only be not mounted. Deleted runs
are another matter, `worker.purge`'s.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import structlog
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from api.db.tables import Run
from api.runs.schemas import Answer
from api.runs.status import TERMINAL
from api.runs.storage import RUN_ID, is_there, run_folder
from api.settings import Settings
from trainer.contract.diagnosis import PROBE_PREFIX

log = structlog.get_logger()

DAY_SECONDS = 86_400.0
POINTS_AT_ONCE = 100_000
ROWS_AT_ONCE = 10_000
FOLDERS_AT_ONCE = 200
LEFTOVERS_KEPT_DAYS = 1.0
DIAGNOSES_KEPT_DAYS = 1.0
RESTORING_PREFIX = ".restoring-"

Transaction = Callable[[], AbstractContextManager[Session]]
_OVER = ", ".join(repr(status.value) for status in sorted(TERMINAL))


class Collectable(Answer):
    """What one kind would take now."""

    kind: str
    what: str
    kept_days: float | None
    """By the setting; null: for ever, so nothing is taken."""
    setting: str | None
    """The variable that changes it; null: it is fixed."""
    items: int
    """Rows or folders."""
    bytes: int
    """Of disk, for rows by their average; the database uses their room again after its next vacuum."""


class CollectionPlan(Answer):
    items: list[Collectable]
    bytes: int
    storage_is_there: bool
    """False: nothing on the storage is looked at or taken, since it may not be mounted."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """Something that is collected. On the storage where `folders` is given, else rows of `table`."""

    name: str
    what: str
    setting: str | None
    kept_days: Callable[[Settings], float | None]
    table: str = ""
    where: str = ""
    """A condition on `table`, with :kept seconds."""
    key: str = "id"
    at_once: int = ROWS_AT_ONCE
    folders: Callable[[Session, Settings, float], Iterator[Path]] | None = None


def plan(session: Session, settings: Settings) -> CollectionPlan:
    """Looks and changes nothing; reads every folder that would go, so it may take a while."""
    there = is_there(session, settings.storage)
    items = []
    for kind in KINDS:
        count, size = 0, 0
        days = kind.kept_days(settings)
        if days is not None and kind.folders is not None:
            for folder in kind.folders(session, settings, days) if there else ():
                count, size = count + 1, size + bytes_in(folder)
        elif days is not None:
            count = session.execute(
                text(f"SELECT count(*) FROM {kind.table} WHERE {kind.where}"), {"kept": days * DAY_SECONDS}
            ).scalar_one()
            size = count * _row_bytes(session, kind.table)
        items.append(
            Collectable(kind=kind.name, what=kind.what, kept_days=days, setting=kind.setting, items=count, bytes=size)
        )
    return CollectionPlan(items=items, bytes=sum(item.bytes for item in items), storage_is_there=there)


def collect(transaction: Transaction, settings: Settings, *, seconds: float) -> dict[str, int]:
    """Takes what is due, batch by batch, each in a transaction of its own; begins none after `seconds`. Idempotent.

    Returns how much went of each kind of which something went.
    """
    deadline, gone = time.monotonic() + seconds, dict[str, int]()
    for kind in KINDS:
        days = kind.kept_days(settings)
        while days is not None and time.monotonic() < deadline:
            taken, whole = _take(transaction, settings, kind, days)
            if taken:
                gone[kind.name] = gone.get(kind.name, 0) + taken
            if not whole:
                break
    return gone


def _take(transaction: Transaction, settings: Settings, kind: Kind, days: float) -> tuple[int, bool]:
    """How much of a kind went, and whether there may be more."""
    with transaction() as session:
        if kind.folders is None:
            # By ctid, since metric points have a long key. What somebody works on at this moment is left for later.
            statement = text(
                f"DELETE FROM {kind.table} WHERE ctid = ANY(ARRAY(SELECT ctid FROM {kind.table} WHERE {kind.where}"
                f" LIMIT {kind.at_once} FOR UPDATE SKIP LOCKED)) RETURNING 1"
            )
            taken = len(session.execute(statement, {"kept": days * DAY_SECONDS}).all())
            return taken, taken == kind.at_once
        if not is_there(session, settings.storage):
            log.error("collection_refused", kind=kind.name, why="the storage is without its proof: mount it")
            return 0, False
        folders = []
        for folder in kind.folders(session, settings, days):
            folders.append(folder)
            if len(folders) == FOLDERS_AT_ONCE:
                break
    taken = 0
    for folder in folders:
        try:
            shutil.rmtree(folder)
            taken += 1
        except OSError as error:
            log.warning("not_collected", kind=kind.name, folder=str(folder), error=str(error))
    return taken, len(folders) == FOLDERS_AT_ONCE and taken > 0


def bytes_in(folder: Path) -> int:
    """Of disk, as far as it can be read; links are not followed."""
    size = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                size += Path(parent, name).lstat().st_blocks * 512
            except OSError:
                continue
    return size


def _old_logs(session: Session, settings: Settings, days: float) -> Iterator[Path]:
    """Of runs that ended so long ago."""
    over = select(Run.id).where(
        Run.status.in_([status.value for status in TERMINAL]),
        Run.ended_at < text("now() - make_interval(secs => :kept)").bindparams(kept=days * DAY_SECONDS),
    )
    for run_id in session.scalars(over.order_by(Run.ended_at)):
        folder = run_folder(settings.storage, run_id)
        if folder is None:
            continue
        for attempt in sorted((folder / "attempts").glob("*")):
            logs = attempt / "log"
            if logs.is_dir() and not logs.is_symlink() and not attempt.is_symlink():
                yield logs


def _orphans(session: Session, settings: Settings, days: float) -> Iterator[Path]:
    """Folders of runs that the database does not know, untouched for so long."""
    try:
        names = sorted(path.name for path in (settings.storage / "runs").iterdir() if RUN_ID.fullmatch(path.name))
    except OSError:
        return
    known = set(session.scalars(select(Run.id).where(Run.id.in_(names))))
    for name in names:
        folder = run_folder(settings.storage, name)
        if name not in known and folder is not None and _untouched(folder, days):
            yield folder


def _leftovers(_: Session, settings: Settings, days: float) -> Iterator[Path]:
    """What a doctor or a restore left that was cut off."""
    for prefix in (PROBE_PREFIX, RESTORING_PREFIX):
        for path in sorted(settings.storage.glob(f"{prefix}*")):
            if path.is_dir() and not path.is_symlink() and _untouched(path, days):
                yield path


def _untouched(folder: Path, days: float) -> bool:
    """Whether nothing in it, three levels deep, changed for so long."""
    since = time.time() - days * DAY_SECONDS
    try:
        return all(
            path.lstat().st_mtime < since
            for pattern in ("", "*", "*/*", "*/*/*")
            for path in (folder.glob(pattern) if pattern else [folder])
        )
    except OSError:
        return False


def _row_bytes(session: Session, table: str) -> int:
    """On average, with its indexes."""
    size = text(
        "SELECT pg_total_relation_size(oid) / greatest(reltuples, 1) FROM pg_class WHERE oid = CAST(:table AS regclass)"
        " AND reltuples > 0"
    )
    return int(session.execute(size, {"table": table}).scalar_one_or_none() or 0)


KINDS = (
    Kind(
        name="logs",
        what="log files of runs that are over",
        setting="BASIN_LOGS_KEPT_DAYS",
        kept_days=lambda settings: settings.logs_kept_days,
        folders=_old_logs,
    ),
    Kind(
        name="archived points",
        what="metric points of archived runs; their latest and best numbers stay",
        setting="BASIN_ARCHIVED_POINTS_KEPT_DAYS",
        kept_days=lambda settings: settings.archived_points_kept_days,
        table="metric_points",
        where="run_id IN (SELECT id FROM runs WHERE archived_at < now() - make_interval(secs => :kept)"
        f" AND status IN ({_OVER}))",
        at_once=POINTS_AT_ONCE,
    ),
    Kind(
        name="events",
        what="timeline rows of runs that are over; how they moved from status to status stays",
        setting="BASIN_EVENTS_KEPT_DAYS",
        kept_days=lambda settings: settings.events_kept_days,
        table="events",
        where="kind <> 'status' AND run_id IN"
        f" (SELECT id FROM runs WHERE ended_at < now() - make_interval(secs => :kept) AND status IN ({_OVER}))",
    ),
    Kind(
        name="webhook deliveries",
        what="messages to webhooks, and what came of them; those that wait stay",
        setting="BASIN_WEBHOOK_LOG_KEPT_DAYS",
        kept_days=lambda settings: settings.webhook_log_kept_days,
        table="webhook_deliveries",
        where="created_at < now() - make_interval(secs => :kept)"
        " AND (state <> 'waiting' OR next_at < now() - make_interval(secs => :kept))",
    ),
    Kind(
        name="orphans",
        what="folders of runs that the database does not know",
        setting="BASIN_ORPHANS_KEPT_DAYS",
        kept_days=lambda settings: settings.orphans_kept_days,
        folders=_orphans,
    ),
    Kind(
        name="diagnoses",
        what="what `basin doctor` found",
        setting=None,
        kept_days=lambda _: DIAGNOSES_KEPT_DAYS,
        table="diagnosis_parts",
        where="began_at < now() - make_interval(secs => :kept)",
    ),
    Kind(
        name="leftovers",
        what="folders of a doctor or a restore that was cut off",
        setting=None,
        kept_days=lambda _: LEFTOVERS_KEPT_DAYS,
        folders=_leftovers,
    ),
)
