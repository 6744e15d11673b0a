"""What removed rows had counted is kept: counters of `/metrics` are counts of rows, and none may ever fall."""

from __future__ import annotations

from sqlalchemy import text
from sqlalchemy.orm import Session

ENDED, ADMISSIONS = "ended", "admissions"
"""Values of `past_counts.counter`."""

_KEEP = text(
    """
    INSERT INTO past_counts AS past (counter, label, number)
    SELECT :ended, reason, 1 FROM runs WHERE id = :run_id AND reason IS NOT NULL
    UNION ALL
    SELECT :admissions, '', count(*) FROM attempts WHERE run_id = :run_id HAVING count(*) > 0
    ON CONFLICT (counter, label) DO UPDATE SET number = past.number + excluded.number
    """
)


def keep_counts(session: Session, run_id: str) -> None:
    """Before a run is removed whose row is locked. Does not commit."""
    session.execute(_KEEP, {"run_id": run_id, "ended": ENDED, "admissions": ADMISSIONS})
