"""What of the use of the cluster outlives the runs that had it."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Identity, Index, Integer, SmallInteger
from sqlalchemy.orm import Mapped, mapped_column

from api.db.tables import Base


class PastUse(Base):
    """An attempt of a run that was removed for good: it counts for quotas and fair share as if the run were there."""

    __tablename__ = "past_use"
    __table_args__ = (Index("ix_past_use_released", "slots_released_at"),)
    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    world_size: Mapped[int] = mapped_column(Integer)
    gpus_per_worker: Mapped[int] = mapped_column(SmallInteger)
    created_at: Mapped[datetime]
    slots_released_at: Mapped[datetime]
