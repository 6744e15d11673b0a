"""Canary tasks: small ones whose coming back shows that broker and Celery worker really do their work.

A worker that is connected and takes nothing answers every ping. The API sends one every ten seconds and knows how long
it was under way; beat sends one, too, and its arrival shows that beat sends. Times are the database's.
"""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic

from sqlalchemy import Connection, Engine, text

from api.dispatch import Dispatcher

TASK = "canary"
API, BEAT = "api", "beat"
INTERVAL_SECONDS = 10.0
LOOK_SECONDS = 2.5
"""Between two looks at the row, each of which writes a little."""
LOST_SECONDS = 20.0
"""One that has not come back by then is followed by another, since its message may be lost."""

# Of several API processes one sends: whoever comes second finds that it was just done. A moment in the future is from
# before a clock was set back.
_SEND = text(
    "INSERT INTO canaries AS c (sender, number, sent_at) VALUES (:sender, 1, clock_timestamp())"
    " ON CONFLICT (sender) DO UPDATE SET number = c.number + 1, sent_at = clock_timestamp()"
    " WHERE c.sent_at IS NULL OR c.sent_at > clock_timestamp()"
    " OR c.sent_at < clock_timestamp() - make_interval(secs => :lost)"
    " OR (c.taken_number = c.number AND c.sent_at < clock_timestamp() - make_interval(secs => :interval))"
    " RETURNING number, CAST(extract(epoch FROM sent_at) AS double precision) AS sent_at"
)
# Of any number: where all of them take longer than LOST_SECONDS, each has been followed by another when it comes. One
# without its time was sent by an earlier version.
_TAKEN_FROM_API = text(
    "UPDATE canaries SET taken_at = clock_timestamp(),"
    " taken_number = CASE WHEN number = :number THEN number ELSE taken_number END,"
    " round_trip_seconds = CASE WHEN CAST(:sent_at AS double precision) IS NULL THEN round_trip_seconds"
    " ELSE greatest(0, extract(epoch FROM clock_timestamp()) - CAST(:sent_at AS double precision)) END"
    " WHERE sender = :sender"
)
_TAKEN_FROM_BEAT = text(
    "INSERT INTO canaries (sender, taken_at) VALUES (:sender, clock_timestamp())"
    " ON CONFLICT (sender) DO UPDATE SET taken_at = clock_timestamp()"
)
_STATES = text(
    "SELECT sender, extract(epoch FROM clock_timestamp() - taken_at), round_trip_seconds FROM canaries"
    " WHERE taken_at IS NOT NULL"
)


@dataclass(frozen=True, kw_only=True)
class CanaryState:
    """How long ago a worker last took this sender's canary, and how long that one was under way (null: not known)."""

    age_seconds: float
    round_trip_seconds: float | None


class CanarySender:
    """The API's; one per process."""

    def __init__(self, engine: Engine, dispatcher: Dispatcher) -> None:
        self._engine, self._dispatcher = engine, dispatcher
        self._looks_again_at = 0.0

    def look(self) -> None:
        """Sends one if it is time; for a caller who comes every second. Raises SQLAlchemyError."""
        if monotonic() < self._looks_again_at:
            return
        self._looks_again_at = monotonic() + LOOK_SECONDS
        with self._engine.begin() as connection:
            times = {"sender": API, "interval": INTERVAL_SECONDS, "lost": LOST_SECONDS}
            sent = connection.execute(_SEND, times).one_or_none()
        if sent is not None:
            self._dispatcher.send([(TASK, (API, sent.number, sent.sent_at))])


def note_taken(connection: Connection, sender: str, number: int, sent_at: float | None) -> None:
    """A Celery worker took this canary, sent at that Unix time by the database's clock. Does not commit.

    Also one that a newer one has followed: a worker that takes everything late is slow, not dead.
    """
    if sender == API:
        connection.execute(_TAKEN_FROM_API, {"sender": sender, "number": number, "sent_at": sent_at})
    else:
        connection.execute(_TAKEN_FROM_BEAT, {"sender": sender})


def canary_states(connection: Connection) -> dict[str, CanaryState]:
    """By sender; one of whom none was ever taken is not there."""
    return {
        sender: CanaryState(age_seconds=max(0.0, float(age)), round_trip_seconds=took)
        for sender, age, took in connection.execute(_STATES)
    }
