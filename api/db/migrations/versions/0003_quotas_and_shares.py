"""Quotas and weight of a user; a run's likeness, estimated start and whether it may be paused for others."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    # Nullable or with a constant default: no row is rewritten, and the version that still runs can insert.
    op.add_column("users", sa.Column("max_workers", sa.Integer(), nullable=True))
    op.add_column("users", sa.Column("max_queued_runs", sa.Integer(), nullable=True))
    op.add_column("users", sa.Column("gpu_hours_per_month", sa.Double(), nullable=True))
    op.add_column("users", sa.Column("weight", sa.Double(), server_default="1", nullable=False))
    op.create_check_constraint(op.f("ck_users_weight"), "users", "weight > 0")
    op.add_column("runs", sa.Column("preemptible", sa.Boolean(), server_default="true", nullable=False))
    op.add_column("runs", sa.Column("likeness", sa.String(length=64), nullable=True))
    op.add_column("runs", sa.Column("estimated_start", sa.DateTime(timezone=True), nullable=True))
    op.create_index(
        "ix_runs_likeness", "runs", ["likeness", "ended_at"], unique=False, postgresql_where="status = 'succeeded'"
    )
    op.create_index("ix_attempts_released", "attempts", ["slots_released_at"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_attempts_released", table_name="attempts")
    op.drop_index("ix_runs_likeness", table_name="runs", postgresql_where="status = 'succeeded'")
    op.drop_column("runs", "estimated_start")
    op.drop_column("runs", "likeness")
    op.drop_column("runs", "preemptible")
    op.drop_constraint(op.f("ck_users_weight"), "users", type_="check")
    op.drop_column("users", "weight")
    op.drop_column("users", "gpu_hours_per_month")
    op.drop_column("users", "max_queued_runs")
    op.drop_column("users", "max_workers")
