"""Database connections, and the one shape of every piece of work: a transaction that commits at the edge.

    with transaction(engine, outbox) as session:
        ...                       # code inside never commits

Live changes are put on the session and written with the rest, right before the commit. Messages leave after it, and a
rollback drops them. They are hints: the crash between commit and sending loses them, and reconcile, or the next look
of a live stream, makes up for it.

Whoever locks several rows takes them in this order, so that nobody waits in a circle: report_marks, attempts (of one
run the newest first), runs.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import structlog
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from api.db.changes import Change, write_changes
from api.db.tables import Event
from api.settings import Settings

log = structlog.get_logger()

CONNECT_TIMEOUT_SECONDS = 5
STATEMENT_TIMEOUT_SECONDS = 30
LOCK_TIMEOUT_SECONDS = 10
IDLE_IN_TRANSACTION_SECONDS = 60
POOL_WAIT_SECONDS = 10


@dataclass(frozen=True, kw_only=True)
class Message:
    """A Celery task to send: its name and JSON scalars."""

    task: str
    arguments: tuple[str | int | float, ...] = ()


class Outbox(Protocol):
    """Where the hints of a transaction go. `api.runs.live.LiveOutbox` is the real one."""

    def changes_of(self, session: Session, run_ids: Collection[str], events: list[Event]) -> list[Change]:
        """Renders runs and events as they are just before the commit."""

    def deliver(self, messages: list[Message], *, wakes_streams: bool) -> None:
        """Sends; never raises, never waits long."""


@dataclass
class Held:
    """What a session holds back until its commit."""

    messages: list[Message] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    run_ids: dict[str, None] = field(default_factory=dict)
    """An ordered set: the summary of each is told once, as the commit leaves it."""
    events: list[Event] = field(default_factory=list)


class BasinSession(Session):
    """A session that notes which events were written, wherever they were added, so that all of them go live."""


@event.listens_for(BasinSession, "pending_to_persistent")
def _note_event(session: Session, instance: object) -> None:
    if isinstance(instance, Event):
        held = _held(session)
        held.events.append(instance)
        held.run_ids[instance.run_id] = None


def make_engine(settings: Settings, *, application: str = "basin", pool_size: int = 10) -> Engine:
    """A pool of at most four times `pool_size` connections that survives a restart of the database."""
    milliseconds = {
        "statement_timeout": STATEMENT_TIMEOUT_SECONDS * 1000,
        "lock_timeout": LOCK_TIMEOUT_SECONDS * 1000,
        "idle_in_transaction_session_timeout": IDLE_IN_TRANSACTION_SECONDS * 1000,
    }
    options = " ".join(f"-c {name}={value}" for name, value in milliseconds.items())
    return create_engine(
        settings.database_url,
        pool_size=pool_size,
        max_overflow=3 * pool_size,
        pool_timeout=POOL_WAIT_SECONDS,
        pool_pre_ping=True,
        connect_args={
            "connect_timeout": CONNECT_TIMEOUT_SECONDS,
            "application_name": application,
            "options": f"{options} -c timezone=UTC",
        },
    )


@contextmanager
def transaction(engine: Engine, outbox: Outbox) -> Iterator[BasinSession]:
    """One session, one commit at the end with the changes, then the hints; any exception rolls back and drops all."""
    with BasinSession(engine, expire_on_commit=False) as session:
        yield session
        session.flush()
        held = _held(session)
        changes = held.changes + outbox.changes_of(session, list(held.run_ids), held.events)
        write_changes(session, changes)
        session.commit()
    if held.messages or changes:
        outbox.deliver(held.messages, wakes_streams=bool(changes))


def after_commit_send(session: Session, task: str, *arguments: str | int | float) -> None:
    """Sends a Celery task by name after the commit; the same message twice in one transaction goes once."""
    message = Message(task=task, arguments=arguments)
    if message not in _held(session).messages:
        _held(session).messages.append(message)


def publish(session: Session, change: Change | str) -> None:
    """Tells live streams of a change with the commit. A run's id stands for its summary, rendered just before it."""
    if isinstance(change, str):
        _held(session).run_ids[change] = None
    else:
        _held(session).changes.append(change)


def first_line(error: SQLAlchemyError) -> str:
    """What the database says, without the statement."""
    lines = str(getattr(error, "orig", error)).strip().splitlines()
    return lines[0].strip() if lines else type(error).__name__


def _held(session: Session) -> Held:
    held: Held = session.info.setdefault("held", Held())
    return held
