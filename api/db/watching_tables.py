"""What is kept only so that somebody can watch: canary tasks, and what rows that are gone had counted."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, Double, String
from sqlalchemy.orm import Mapped, mapped_column

from api.db.tables import Base


class Canary(Base):
    """The newest canary task of a sender ("api", "beat"): when it left, and when a Celery worker last took one."""

    __tablename__ = "canaries"
    sender: Mapped[str] = mapped_column(String(16), primary_key=True)
    number: Mapped[int] = mapped_column(BigInteger, server_default="0")
    sent_at: Mapped[datetime | None]
    """By the database's clock, like the next one; null where the sender does not talk to the database (beat)."""
    taken_number: Mapped[int | None] = mapped_column(BigInteger)
    taken_at: Mapped[datetime | None]
    round_trip_seconds: Mapped[float | None] = mapped_column(Double)


class PastCount(Base):
    """What rows that were removed for good had counted, so that counters made from rows never fall."""

    __tablename__ = "past_counts"
    counter: Mapped[str] = mapped_column(String(32), primary_key=True)
    """"ended" or "admissions"."""
    label: Mapped[str] = mapped_column(String(64), primary_key=True)
    """The end reason; "" for admissions."""
    number: Mapped[int] = mapped_column(BigInteger, server_default="0")
