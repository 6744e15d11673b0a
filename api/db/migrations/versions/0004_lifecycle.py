"""Pausing, limits, cancelling at once, archiving and deleting of runs."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

NULLABLE: dict[str, sa.types.TypeEngine[Any]] = {
    "pause_requested_at": sa.DateTime(timezone=True),
    "time_limit_seconds": sa.Double(),
    "deadline": sa.DateTime(timezone=True),
    "limit_reached": sa.String(length=64),
    "limit_reached_at": sa.DateTime(timezone=True),
    "archived_at": sa.DateTime(timezone=True),
    "deleted_at": sa.DateTime(timezone=True),
    "purged_at": sa.DateTime(timezone=True),
}


def upgrade() -> None:
    # Nullable or with a default: no row is rewritten, and the version that still runs can insert.
    for name, kind in NULLABLE.items():
        op.add_column("runs", sa.Column(name, kind, nullable=True))
    for name in ("cancel_at_once", "requeues"):
        op.add_column("runs", sa.Column(name, sa.Boolean(), server_default=sa.text("false"), nullable=False))
    # now() is taken once, so this too rewrites nothing. Rows of before are then given what they know themselves, in one
    # short statement, since the table is locked until the migration ends.
    op.add_column(
        "runs", sa.Column("status_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False)
    )
    op.execute("UPDATE runs SET status_at = coalesce(ended_at, started_at, queued_at, created_at)")
    op.create_index(
        "ix_runs_deleted", "runs", ["deleted_at"], unique=False, postgresql_where=sa.text("deleted_at IS NOT NULL")
    )


def downgrade() -> None:
    op.drop_index("ix_runs_deleted", table_name="runs", postgresql_where=sa.text("deleted_at IS NOT NULL"))
    for name in (*NULLABLE, "cancel_at_once", "requeues", "status_at"):
        op.drop_column("runs", name)
