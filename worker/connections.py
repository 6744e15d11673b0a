"""What one Celery process holds: settings, the database, the outbox.

Made after the fork, since sockets do not survive one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine, text
from sqlalchemy.orm import Session

from api.db.engine import make_engine, transaction
from api.runs.live import LiveOutbox
from api.settings import Settings
from worker.decisions import Limits
from worker.ray_jobs import RayJobs

POOL_SIZE = 2


class Connections:
    """One per process; closed when it ends."""

    def __init__(self, settings: Settings, *, pool_size: int = POOL_SIZE) -> None:
        self.settings = settings
        self.engine: Engine = make_engine(settings, application="basin-worker", pool_size=pool_size)
        self.outbox = LiveOutbox(settings)
        self.limits = Limits(
            lease_timeout=settings.lease_timeout_seconds,
            silent_stop=settings.silent_stop_seconds,
            cancel_grace=settings.cancel_grace_seconds,
            launch_timeout=settings.launch_timeout_seconds,
            max_failures=settings.max_failures,
        )

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """One commit at the end, then the hints. No call to Ray happens inside."""
        with transaction(self.engine, self.outbox) as session:
            yield session

    def ray(self) -> RayJobs:
        token = self.settings.ray_token
        return RayJobs(self.settings.ray_address, token.get_secret_value() if token else "")

    @contextmanager
    def only_one(self, name: str) -> Iterator[bool]:
        """Whether this process is the only one inside `name`, on all machines; never waits.

        The lock belongs to a connection without a transaction, which may stay open while Ray is asked: it holds no row,
        no snapshot and no memory, and it goes with the process, however that dies. After any exception the connection
        goes too: Celery's time limit strikes anywhere, and a pooled connection that still held the lock would keep
        everybody out.
        """
        key = int.from_bytes(hashlib.sha256(f"basin {name}".encode()).digest()[:8], signed=True)
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            try:
                mine = bool(connection.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": key}).scalar_one())
                yield mine
                if mine:
                    connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": key})
            except BaseException:
                connection.invalidate()
                raise

    def close(self) -> None:
        self.outbox.close()
        self.engine.dispose()
