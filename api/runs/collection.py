"""What is kept no longer than an installation wants: logs, points of archived runs, events, deliveries, leftovers.

Each kind knows what it would take, and takes it in bounded batches. What a setting does not name is kept for ever, and
nothing on the storage is touched while its proof is missing: what is not there may only be not mounted. Deleted runs
are another matter, `worker.purge`'s.
"""

from __future__ import annotations

import math
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import structlog
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from api.runs.collectable_folders import DAY_SECONDS, Transaction, old_logs, orphans, untouched
from api.runs.schemas import Answer
from api.runs.status import TERMINAL
from api.runs.storage import is_there
from api.runs.storage_state import PROBE_NAME
from api.settings import Settings
from trainer.contract.diagnosis import PROBE_PREFIX

log = structlog.get_logger()

POINTS_AT_ONCE = 100_000
ROWS_AT_ONCE = 10_000
FOLDERS_AT_ONCE = 200
"""After so many the storage has to show its proof again."""
LEFTOVERS_KEPT_DAYS = 1.0
DIAGNOSES_KEPT_DAYS = 1.0
RESTORING_PREFIX, REPLACED_PREFIX = ".restoring-", ".replaced-"
"""What a restore copies, and what it has replaced (api/backup/placing.py)."""
LEFTOVER_PREFIXES = (PROBE_PREFIX, f"{PROBE_NAME}-", RESTORING_PREFIX, REPLACED_PREFIX)
"""Names of what is of use for a moment and stays where a process was killed."""

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
    at_once: int = ROWS_AT_ONCE
    folders: Callable[[Transaction, Settings, float, float], Iterator[Path]] | None = None
    """Those that are older than so many days, found until a moment of the monotonic clock."""


def plan(transaction: Transaction, settings: Settings) -> CollectionPlan:
    """Looks and changes nothing; reads every folder that would go, so it may take a while."""
    there = _is_there(transaction, settings)
    items = []
    for kind in KINDS:
        count, size = 0, 0
        days = kind.kept_days(settings)
        if days is not None and kind.folders is not None:
            for folder in kind.folders(transaction, settings, days, math.inf) if there else ():
                count, size = count + 1, size + bytes_in(folder)
        elif days is not None:
            with transaction() as session:
                counted = text(f"SELECT count(*) FROM {kind.table} WHERE {kind.where}")
                count = session.execute(counted, {"kept": days * DAY_SECONDS}).scalar_one()
                size = count * _row_bytes(session, kind.table)
        items.append(
            Collectable(kind=kind.name, what=kind.what, kept_days=days, setting=kind.setting, items=count, bytes=size)
        )
    return CollectionPlan(items=items, bytes=sum(item.bytes for item in items), storage_is_there=there)


def collect(transaction: Transaction, settings: Settings, *, seconds: float) -> dict[str, int]:
    """Takes what is due in batches, rows in transactions of their own; begins none after `seconds`. Idempotent.

    Each kind has an equal share of the time that is left, and one that fails is logged: so none keeps the others from
    their turn. Returns how much went of each kind of which something went.
    """
    deadline, gone = time.monotonic() + seconds, dict[str, int]()
    due = [(kind, days) for kind in KINDS if (days := kind.kept_days(settings)) is not None]
    for place, (kind, days) in enumerate(due):
        began_at = time.monotonic()
        until = began_at + (deadline - began_at) / (len(due) - place)
        takes = _take_rows if kind.folders is None else _take_folders
        try:
            for taken in takes(transaction, settings, kind, days, until):
                gone[kind.name] = gone.get(kind.name, 0) + taken
        except (OSError, SQLAlchemyError) as error:
            log.warning("kind_not_collected", kind=kind.name, error=str(error).strip().partition("\n")[0])
    return gone


def _take_rows(transaction: Transaction, _: Settings, kind: Kind, days: float, until: float) -> Iterator[int]:
    """How many of each batch."""
    # By ctid, since metric points have a long key. What somebody works on at this moment is left for later.
    statement = text(
        f"DELETE FROM {kind.table} WHERE ctid = ANY(ARRAY(SELECT ctid FROM {kind.table} WHERE {kind.where}"
        f" LIMIT {kind.at_once} FOR UPDATE SKIP LOCKED)) RETURNING 1"
    )
    while time.monotonic() < until:
        with transaction() as session:
            taken = len(session.execute(statement, {"kept": days * DAY_SECONDS}).all())
        if taken:
            yield taken
        if taken < kind.at_once:
            return


def _take_folders(transaction: Transaction, settings: Settings, kind: Kind, days: float, until: float) -> Iterator[int]:
    """1 for each."""
    assert kind.folders is not None
    for place, folder in enumerate(kind.folders(transaction, settings, days, until)):
        if place % FOLDERS_AT_ONCE == 0 and not _is_there(transaction, settings):
            log.error("collection_refused", kind=kind.name, why="the storage is without its proof: mount it")
            return
        if time.monotonic() >= until:
            return
        try:
            folder.unlink() if folder.is_file() else shutil.rmtree(folder)
        except OSError as error:
            log.warning("not_collected", kind=kind.name, folder=str(folder), error=str(error))
        else:
            yield 1


def _is_there(transaction: Transaction, settings: Settings) -> bool:
    with transaction() as session:
        return is_there(session, settings.storage)


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


def _leftovers(_: Transaction, settings: Settings, days: float, until: float) -> Iterator[Path]:
    """Folders that a doctor or a restore left that was cut off, and files of a look at the storage."""
    for prefix in LEFTOVER_PREFIXES:
        for path in sorted(settings.storage.glob(f"{prefix}*")):
            if time.monotonic() >= until:
                return
            if (path.is_dir() or path.is_file()) and not path.is_symlink() and untouched(path, days):
                yield path


def _row_bytes(session: Session, table: str) -> int:
    """On average, with its indexes."""
    size = text(
        "SELECT pg_total_relation_size(oid) / greatest(reltuples, 1) FROM pg_class WHERE oid = CAST(:table AS regclass)"
        " AND reltuples > 0"
    )
    return int(session.execute(size, {"table": table}).scalar_one_or_none() or 0)


KINDS = (
    Kind(
        name="diagnoses",
        what="what `basin doctor` found",
        setting=None,
        kept_days=lambda _: DIAGNOSES_KEPT_DAYS,
        table="diagnosis_parts",
        where="began_at < now() - make_interval(secs => :kept)",
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
        name="events",
        what="timeline rows of runs that are over; how they moved from status to status stays",
        setting="BASIN_EVENTS_KEPT_DAYS",
        kept_days=lambda settings: settings.events_kept_days,
        table="events",
        where="kind <> 'status' AND run_id IN"
        f" (SELECT id FROM runs WHERE ended_at < now() - make_interval(secs => :kept) AND status IN ({_OVER}))",
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
        name="leftovers",
        what="what a doctor, a restore or a look at the storage left that was cut off",
        setting=None,
        kept_days=lambda _: LEFTOVERS_KEPT_DAYS,
        folders=_leftovers,
    ),
    Kind(
        name="orphans",
        what="folders of runs that the database does not know",
        setting="BASIN_ORPHANS_KEPT_DAYS",
        kept_days=lambda settings: settings.orphans_kept_days,
        folders=orphans,
    ),
    Kind(
        name="logs",
        what="log files of runs that are over",
        setting="BASIN_LOGS_KEPT_DAYS",
        kept_days=lambda settings: settings.logs_kept_days,
        folders=old_logs,
    ),
)
"""In the order of a pass: the quick ones first, and what they leave of its time is the others'."""
