"""The changes that live streams tell: written in the transaction that makes them, read in an order that is final.

Readers remember a position and ask for what comes behind it. Three things make that safe:

1. An id alone would lose changes. Ids are taken before the commit, so a lower one may become visible after a higher
   one, and whoever remembers the higher one never looks back. So readers only take rows whose `xid` is below
   `pg_snapshot_xmin(pg_current_snapshot())`: every transaction before that one is over, and no row with such an `xid`
   can appear any more. What is behind a position today is behind it for ever.
2. A transaction's own xid would tell some changes in the wrong order. It is taken at the first write: a transaction
   that wrote something, then waited for another one to let go of the run's row, has the lower xid and the newer state;
   told first, it would be overwritten on the page by the older state. So `xid` is the greater of the own one and the
   newest that had ended when the row was written. Rows are written right before the commit, while the runs they
   tell of are locked: the later of two writers of a run sees the other one ended, its `xid` is not lower, and if it is
   equal, its `id` is higher.
3. Nothing is kept for ever: `trim` deletes after an hour and remembers up to where, and a restore into another cluster
   or database is noticed (`adopt`), so that a reader whose position means nothing any more can be told.

One open transaction that has written anything, in any database of the cluster, holds everybody back until it ends; ours
last milliseconds, and `idle_in_transaction_session_timeout` ends one whose process stands still.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import structlog
from sqlalchemy import Connection, Engine, text
from sqlalchemy.orm import Session

log = structlog.get_logger()

KEPT_SECONDS = 3600
TRIM_BATCH = 5000
LARGEST = 2**63 - 1


class Position(NamedTuple):
    """A place in the order of changes, before or after any of them; on the wire "<xid>.<id>"."""

    xid: int
    id: int

    def __str__(self) -> str:
        return f"{self.xid}.{self.id}"

    @classmethod
    def parsed(cls, words: str) -> Position | None:
        """Null for anything that `str` does not make."""
        found = re.fullmatch(r"([0-9]{1,19})\.([0-9]{1,19})", words, re.ASCII)
        if found is None or max(int(found[1]), int(found[2])) > LARGEST:
            return None
        return cls(int(found[1]), int(found[2]))


@dataclass(frozen=True, kw_only=True)
class Change:
    """Something a dashboard may want to know. `user_id` and `visibility` are its run's: they decide who sees it."""

    kind: str
    """"run", "metrics" or "event"."""
    run_id: str
    user_id: int
    visibility: str
    data: dict[str, Any]
    """JSON only."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredChange:
    """The same as it was stored; `data` is JSON text, passed on as it is."""

    position: Position
    kind: str
    run_id: str
    user_id: int
    visibility: str
    data: str


@dataclass(frozen=True, kw_only=True)
class View:
    """Which changes a stream tells: what it is about, and what its reader may see."""

    all_runs: bool
    """The summary of every run."""
    run_ids: frozenset[str]
    """Everything about these."""
    user_id: int
    sees_all: bool
    """Private runs of others too."""

    def covers(self, change: StoredChange) -> bool:
        """The condition `_COVERED`, in Python."""
        told = change.run_id in self.run_ids or (self.all_runs and change.kind == "run")
        return told and (self.sees_all or change.visibility == "team" or change.user_id == self.user_id)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """One reading, all by one snapshot."""

    changes: Sequence[StoredChange]
    is_full: bool
    """True: there may be more at once."""
    unsettled: bool
    """True: there are committed changes that an older transaction still holds back."""
    horizon: Position
    """Every change before this position is final."""
    newest_xid: int
    """No transaction that began is newer; a position above it is of another cluster."""
    kept_after: Position
    """Changes before this position may have been deleted."""

    def can_continue(self, after: Position) -> bool:
        """Whether nothing behind `after` was deleted, and `after` is of this database."""
        return self.kept_after <= after and after.xid <= self.newest_xid


_WRITE = text(
    "INSERT INTO changes (kind, run_id, user_id, visibility, data)"
    " SELECT kind, run_id, user_id, visibility, data::jsonb FROM unnest(CAST(:kinds AS varchar[]),"
    " CAST(:run_ids AS varchar[]), CAST(:user_ids AS integer[]), CAST(:visibilities AS varchar[]),"
    " CAST(:data AS text[])) WITH ORDINALITY AS told(kind, run_id, user_id, visibility, data, place) ORDER BY place"
)
_COVERED = (
    "(run_id = ANY(CAST(:run_ids AS varchar[])) OR (:all_runs AND kind = 'run'))"
    " AND (:sees_all OR visibility = 'team' OR user_id = :user_id)"
)
# The snapshot's row is there even where no change is, so that one statement answers everything by one snapshot.
_READ = """
WITH now AS (
    SELECT pg_snapshot_xmin(s)::text::bigint AS settled_below, pg_snapshot_xmax(s)::text::bigint AS newest
    FROM pg_current_snapshot() AS s
)
SELECT
    settled_below, newest, EXISTS (SELECT FROM changes WHERE xid >= settled_below) AS unsettled,
    kept_after_xid, kept_after_id, found.*
FROM now CROSS JOIN change_log LEFT JOIN LATERAL (
    SELECT xid, id, kind, run_id, user_id, visibility, data::text FROM changes
    WHERE (xid, id) > (:xid, :id) AND xid < settled_below {conditions}
    ORDER BY xid, id LIMIT :most
) AS found ON true
ORDER BY found.xid, found.id
"""
_READ_ALL = text(_READ.format(conditions=""))
_READ_COVERED = text(_READ.format(conditions=f"AND (xid, id) <= (:until_xid, :until_id) AND {_COVERED}"))


def write_changes(session: Session, changes: Sequence[Change]) -> None:
    """One statement, in the order given. To be called last before the commit, with the runs locked (see above)."""
    if not changes:
        return
    session.execute(
        _WRITE,
        {
            "kinds": [change.kind for change in changes],
            "run_ids": [change.run_id for change in changes],
            "user_ids": [change.user_id for change in changes],
            "visibilities": [change.visibility for change in changes],
            "data": [json.dumps(change.data, separators=(",", ":")) for change in changes],
        },
    )


def read_on(engine: Engine, after: Position, *, most: int) -> Batch:
    """The next changes behind `after` for everybody, at most `most`."""
    with _reading(engine) as connection:
        return _batch(connection, _READ_ALL, {"xid": after.xid, "id": after.id, "most": most})


def read_covered(engine: Engine, view: View, after: Position, until: Position, *, most: int) -> Batch:
    """The next changes of `view` behind `after`, up to `until`, at most `most`."""
    values = {
        "xid": after.xid,
        "id": after.id,
        "until_xid": until.xid,
        "until_id": until.id,
        "run_ids": sorted(view.run_ids),
        "all_runs": view.all_runs,
        "sees_all": view.sees_all,
        "user_id": view.user_id,
        "most": most,
    }
    with _reading(engine) as connection:
        return _batch(connection, _READ_COVERED, values)


def _reading(engine: Engine) -> Connection:
    """A connection whose every statement is a transaction of its own."""
    return engine.connect().execution_options(isolation_level="AUTOCOMMIT")


def _batch(connection: Connection, statement: Any, values: dict[str, Any]) -> Batch:
    rows = connection.execute(statement, values).all()
    settled_below, newest, unsettled, kept_xid, kept_id = rows[0][:5]
    changes = [
        StoredChange(
            position=Position(xid, id_), kind=kind, run_id=run_id, user_id=user_id, visibility=visibility, data=data
        )
        for *_, xid, id_, kind, run_id, user_id, visibility, data in rows
        if xid is not None
    ]
    return Batch(
        changes=changes,
        is_full=len(changes) == values["most"],
        unsettled=unsettled,
        horizon=Position(settled_below, 0),
        newest_xid=newest,
        kept_after=Position(kept_xid, kept_id),
    )


def adopt(engine: Engine) -> None:
    """Makes the stored changes this database's own; commits.

    A dump restored into another cluster brings rows whose xids mean nothing there: they might lie above all that come,
    and so hide for months and then be told. All of them go, and positions from before begin anew.
    """
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO change_log (id) VALUES (1) ON CONFLICT DO NOTHING"))
        lineage, known = connection.execute(
            text(
                "SELECT (SELECT system_identifier FROM pg_control_system())::text || '/' || pg_database.oid, lineage"
                " FROM change_log, pg_database WHERE datname = current_database() FOR UPDATE OF change_log"
            )
        ).one()
        # What is visible ended before this snapshot; a higher xid cannot be from here.
        foreign = "true" if lineage != known else "xid >= pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
        deleted = connection.execute(text(f"DELETE FROM changes WHERE {foreign}")).rowcount
        if deleted or lineage != known:
            connection.execute(
                text(
                    "UPDATE change_log SET lineage = :lineage, kept_after_id = 0,"
                    " kept_after_xid = pg_snapshot_xmin(pg_current_snapshot())::text::bigint"
                ),
                {"lineage": lineage},
            )
            log.info("live_changes_begin_anew", deleted=deleted)


def trim(engine: Engine, *, kept_seconds: float = KEPT_SECONDS) -> int:
    """Deletes the oldest changes in batches, each a transaction, while they are older; returns how many."""
    deleted = 0
    while True:
        with engine.begin() as connection:
            # Whoever else trims at this moment does the work.
            if not connection.execute(text("SELECT id FROM change_log FOR UPDATE SKIP LOCKED")).first():
                return deleted
            rows = connection.execute(
                text(
                    "SELECT xid, id, at < now() - make_interval(secs => :kept) FROM changes"
                    " WHERE xid < pg_snapshot_xmin(pg_current_snapshot())::text::bigint ORDER BY xid, id LIMIT :most"
                ),
                {"kept": kept_seconds, "most": TRIM_BATCH},
            ).all()
            # Only a beginning of the order may go, so that one position says what is left.
            old = next((place for place, row in enumerate(rows) if not row[2]), len(rows))
            if old == 0:
                return deleted
            last = {"xid": rows[old - 1][0], "id": rows[old - 1][1]}
            connection.execute(text("DELETE FROM changes WHERE (xid, id) <= (:xid, :id)"), last)
            connection.execute(text("UPDATE change_log SET kept_after_xid = :xid, kept_after_id = :id"), last)
            deleted += old
        if old < TRIM_BATCH:
            return deleted
