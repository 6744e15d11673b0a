"""Folders of runs that are kept no longer, found without holding a transaction while the storage is looked at.

Ids are read in pages, since a server lets nobody be idle in a transaction for long and takes only so many parameters.
A look may be cut off by its time: it begins at a place of chance, so that later ones come to what this one did not.
"""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from api.db.tables import Run
from api.runs.status import TERMINAL
from api.runs.storage import RUN_ID, run_folder
from api.settings import Settings

DAY_SECONDS = 86_400.0
IDS_AT_ONCE = 1_000

Transaction = Callable[[], AbstractContextManager[Session]]


def old_logs(transaction: Transaction, settings: Settings, days: float, until: float) -> Iterator[Path]:
    """Of runs that ended so long ago; looks at nothing after `until` (monotonic)."""
    for run_id in _long_over(transaction, days):
        if time.monotonic() >= until:
            return
        folder = run_folder(settings.storage, run_id)
        if folder is None:
            continue
        for attempt in sorted((folder / "attempts").glob("*")):
            logs = attempt / "log"
            if logs.is_dir() and not logs.is_symlink() and not attempt.is_symlink():
                yield logs


def orphans(transaction: Transaction, settings: Settings, days: float, until: float) -> Iterator[Path]:
    """Folders of runs that the database does not know, untouched for so long; looks at nothing after `until`."""
    try:
        names = [path.name for path in (settings.storage / "runs").iterdir() if RUN_ID.fullmatch(path.name)]
    except FileNotFoundError:
        return
    random.shuffle(names)
    for start in range(0, len(names), IDS_AT_ONCE):
        page = names[start : start + IDS_AT_ONCE]
        with transaction() as session:
            known = set(session.scalars(select(Run.id).where(Run.id.in_(page))))
        for name in page:
            if time.monotonic() >= until:
                return
            folder = run_folder(settings.storage, name)
            if name not in known and folder is not None and untouched(folder, days):
                yield folder


def untouched(path: Path, days: float) -> bool:
    """Whether it and what is in it, three levels deep, did not change for so long."""
    since = time.time() - days * DAY_SECONDS
    try:
        return all(
            each.lstat().st_mtime < since
            for pattern in ("", "*", "*/*", "*/*/*")
            for each in (path.glob(pattern) if pattern else [path])
        )
    except OSError:
        return False


def _long_over(transaction: Transaction, days: float) -> Iterator[str]:
    """Ids of runs that ended so long ago, in the order of the ids."""
    over = select(Run.id).where(
        Run.status.in_([status.value for status in TERMINAL]),
        Run.ended_at < text("now() - make_interval(secs => :kept)").bindparams(kept=days * DAY_SECONDS),
    )
    start = secrets.token_hex(6)  # As a run's id is made, so that every run is as likely to be the first.
    for side in (Run.id > start, Run.id <= start):
        page: list[str] = []
        while True:
            rest = over.where(side, Run.id > page[-1]) if page else over.where(side)
            with transaction() as session:
                page = list(session.scalars(rest.order_by(Run.id).limit(IDS_AT_ONCE)))
            yield from page
            if len(page) < IDS_AT_ONCE:
                break
