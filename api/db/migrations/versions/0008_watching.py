"""Canary tasks, traces of runs, and what `/metrics` counts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "canaries",
        sa.Column("sender", sa.String(length=16), nullable=False),
        sa.Column("number", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("sent_at", MOMENT, nullable=True),
        sa.Column("taken_number", sa.BigInteger(), nullable=True),
        sa.Column("taken_at", MOMENT, nullable=True),
        sa.Column("round_trip_seconds", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("sender", name=op.f("pk_canaries")),
    )
    op.create_table(
        "past_counts",
        sa.Column("counter", sa.String(length=32), nullable=False),
        sa.Column("label", sa.String(length=64), nullable=False),
        sa.Column("number", sa.BigInteger(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("counter", "label", name=op.f("pk_past_counts")),
    )
    op.create_index("ix_runs_status_reason", "runs", ["status", "reason"])
    # Nullable: no row is rewritten, and the version that still runs can insert.
    op.add_column("runs", sa.Column("traceparent", sa.String(length=64), nullable=True))


def downgrade() -> None:
    op.drop_column("runs", "traceparent")
    op.drop_index("ix_runs_status_reason", "runs")
    op.drop_table("past_counts")
    op.drop_table("canaries")
