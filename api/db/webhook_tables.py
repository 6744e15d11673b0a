"""Tables of webhooks: who wants to be told, what is to be told, and what came of each attempt to tell it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
    Integer,
    SmallInteger,
    String,
    Text,
    UniqueConstraint,
    func,
)
from sqlalchemy.orm import Mapped, mapped_column

from api.db.tables import Base


class Webhook(Base):
    """An address that a user wants to be told at. Its secret is derived from BASIN_SECRET and `secret_nonce`."""

    __tablename__ = "webhooks"
    __table_args__ = (CheckConstraint("covers IN ('mine', 'everybody')", name="covers"),)
    id: Mapped[str] = mapped_column(String(16), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    url: Mapped[str] = mapped_column(String(2048))
    description: Mapped[str] = mapped_column(String(128), server_default="")
    project: Mapped[str | None] = mapped_column(String(64))
    """Only runs of this project. Off (null): of all."""
    events: Mapped[list[str]] = mapped_column(ARRAY(String(32)), server_default="{}")
    """Only these types (api.runs.webhooks.notices.EventType). Empty: all."""
    covers: Mapped[str] = mapped_column(String(16), server_default="mine")
    """"mine": the user's own runs; "everybody": all that an admin may see, while the user is one."""
    secret_nonce: Mapped[str] = mapped_column(String(32))
    previous_nonce: Mapped[str | None] = mapped_column(String(32))
    previous_until: Mapped[datetime | None]
    """Until then messages are signed by the secret before the rotation too."""
    enabled: Mapped[bool] = mapped_column(server_default="true")
    disabled_at: Mapped[datetime | None]
    disabled_reason: Mapped[str | None] = mapped_column(Text)
    failing_since: Mapped[datetime | None]
    """First failure since the last success."""
    last_success_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())


class WebhookDelivery(Base):
    """One message to one webhook, written in the transaction of the event that it tells.

    Kept for BASIN_WEBHOOK_LOG_KEPT_DAYS, 30 days by default.
    """

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        UniqueConstraint("webhook_id", "message_id"),
        CheckConstraint("state IN ('waiting', 'delivered', 'failed', 'dropped')", name="state"),
        Index("ix_webhook_deliveries_due", "next_at", postgresql_where="state = 'waiting'"),
        Index("ix_webhook_deliveries_leased", "webhook_id", postgresql_where="leased_until IS NOT NULL"),
        Index("ix_webhook_deliveries_newest", "webhook_id", "id"),
        Index("ix_webhook_deliveries_created_at", "created_at"),
    )
    id: Mapped[int] = mapped_column(BigInteger, Identity(), primary_key=True)
    webhook_id: Mapped[str] = mapped_column(ForeignKey("webhooks.id", ondelete="CASCADE"))
    message_id: Mapped[str] = mapped_column(String(40))
    """The header `webhook-id`: the same in every attempt, and for every webhook that is told of one event."""
    type: Mapped[str] = mapped_column(String(32))
    run_id: Mapped[str | None] = mapped_column(String(16))
    """No foreign key: a message may outlive its run."""
    data: Mapped[dict[str, Any]]
    """The payload's `data`, but for the link, which is made when it is sent."""
    state: Mapped[str] = mapped_column(String(16), server_default="waiting")
    """"dropped": its webhook was disabled before it was delivered."""
    attempts: Mapped[int] = mapped_column(Integer, server_default="0")
    failures: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    """Of the present schedule; sending again by hand begins a new one."""
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    scheduled_at: Mapped[datetime] = mapped_column(server_default=func.now())
    """When the present schedule began."""
    next_at: Mapped[datetime] = mapped_column(server_default=func.now())
    """Not to be sent before."""
    lease: Mapped[str | None] = mapped_column(String(16))
    """Who is sending it: only they may write down what came of it."""
    leased_until: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]


class WebhookAttempt(Base):
    """One HTTP request. Without status and error it is under way, or its worker died."""

    __tablename__ = "webhook_attempts"
    delivery_id: Mapped[int] = mapped_column(ForeignKey("webhook_deliveries.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    at: Mapped[datetime] = mapped_column(server_default=func.now())
    milliseconds: Mapped[int | None] = mapped_column(Integer)
    status_code: Mapped[int | None] = mapped_column(Integer)
    error: Mapped[str | None] = mapped_column(Text)
    excerpt: Mapped[str | None] = mapped_column(Text)
    """The first KiB of the answer."""
