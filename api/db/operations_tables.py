"""Tables for whoever keeps Basin running: hosts that take no new runs, and what a look at every part found."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Index, String, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from api.db.tables import Base


class DrainedHost(Base):
    """A machine that gets no new runs. By host, since a machine that restarts has a new node id."""

    __tablename__ = "drained_hosts"
    host: Mapped[str] = mapped_column(String(255), primary_key=True)
    by: Mapped[str] = mapped_column(String(80))
    """"user:<name>"."""
    reason: Mapped[str] = mapped_column(String(200), server_default="")
    moves: Mapped[bool] = mapped_column(server_default="false")
    """Whether the runs on it are paused, with a checkpoint, to go on elsewhere; else they are left to finish."""
    at: Mapped[datetime] = mapped_column(server_default=func.now())


class DiagnosisPart(Base):
    """What one part of the installation found when an admin asked (`basin doctor`). Kept for a day."""

    __tablename__ = "diagnosis_parts"
    __table_args__ = (Index("ix_diagnosis_parts_began", "began_at"),)
    diagnosis_id: Mapped[str] = mapped_column(String(16), primary_key=True)
    part: Mapped[str] = mapped_column(String(280), primary_key=True)
    """"api", "celery worker", "node <host>", and last of all "storage"."""
    began_at: Mapped[datetime] = mapped_column(server_default=func.now())
    submission_id: Mapped[str | None] = mapped_column(String(64))
    """Of a node's Ray job."""
    about: Mapped[dict[str, Any]] = mapped_column(server_default="{}")
    """What the other parts compare themselves with."""
    findings: Mapped[list[dict[str, Any]] | None] = mapped_column(JSONB)
    """trainer.contract.findings.Finding; null until the part has answered."""
