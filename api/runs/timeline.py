"""How long a run stayed in each status, from the events that its moves left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from api.db.tables import Event, Run
from api.runs.schemas import StateSpan
from api.runs.status import TERMINAL, RunStatus

MAX_MOVES = 1_000


@dataclass(frozen=True, kw_only=True)
class Move:
    """A run came to `to` at `at`."""

    to: RunStatus
    at: datetime
    attempt: int | None = None


def spans(moves: Sequence[Move], now: datetime) -> list[StateSpan]:
    """The stays between `moves` (in order, the first one is the submission), the last one open until `now`.

    No time is negative and none is lost: each stay begins when the one before it ends. Pure.
    """
    stays: list[StateSpan] = []
    for index, move in enumerate(moves):
        ended_at = moves[index + 1].at if index + 1 < len(moves) else None
        until = ended_at or (None if move.to in TERMINAL else now)
        stays.append(
            StateSpan(
                status=move.to,
                began_at=move.at,
                ended_at=ended_at,
                seconds=max(0.0, (until - move.at).total_seconds()) if until else None,
                attempt=move.attempt,
            )
        )
    return stays


def states_of(session: Session, run: Run) -> list[StateSpan]:
    """Of one run; the newest thousand where it moved more often."""
    events = session.execute(
        select(Event.data["to"].astext, Event.at, Event.attempt_number)
        .where(Event.run_id == run.id, Event.kind == "status")
        .order_by(Event.id.desc())
        .limit(MAX_MOVES)
    ).all()
    moves = [Move(to=RunStatus(to), at=at, attempt=attempt) for to, at, attempt in reversed(events)]
    if len(moves) < MAX_MOVES:
        moves.insert(0, Move(to=RunStatus.queued, at=run.created_at))
    now: datetime = session.execute(select(func.now())).scalar_one()
    return spans(moves, now)
