"""Study, priority and origin of a run; the changes that live streams replay."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    # Nullable or with a constant default: no row is rewritten, and the version that still runs can insert.
    op.add_column("runs", sa.Column("study", sa.String(length=128), nullable=True))
    op.add_column("runs", sa.Column("priority", sa.SmallInteger(), server_default="0", nullable=False))
    op.add_column("runs", sa.Column("copied_from", sa.String(length=16), nullable=True))
    op.create_index(
        "ix_runs_study", "runs", ["study", "created_at"], unique=False, postgresql_where="study IS NOT NULL"
    )
    op.create_table(
        "changes",
        sa.Column(
            "xid",
            sa.BigInteger(),
            server_default=sa.text(
                "greatest(pg_current_xact_id()::text::bigint,"
                " pg_snapshot_xmax(pg_current_snapshot())::text::bigint - 1)"
            ),
            nullable=False,
        ),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False, cache=1), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("run_id", sa.String(length=16), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=False),
        sa.Column("visibility", sa.String(length=16), nullable=False),
        sa.Column("data", postgresql.JSONB(), nullable=False),
        sa.PrimaryKeyConstraint("xid", "id", name=op.f("pk_changes")),
    )
    op.create_table(
        "change_log",
        sa.Column("id", sa.SmallInteger(), server_default="1", nullable=False),
        sa.Column("lineage", sa.String(length=64), server_default="", nullable=False),
        sa.Column("kept_after_xid", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("kept_after_id", sa.BigInteger(), server_default="0", nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_change_log_single")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_change_log")),
    )
    op.execute("INSERT INTO change_log DEFAULT VALUES")


def downgrade() -> None:
    op.drop_table("change_log")
    op.drop_table("changes")
    op.drop_index("ix_runs_study", table_name="runs", postgresql_where="study IS NOT NULL")
    op.drop_column("runs", "copied_from")
    op.drop_column("runs", "priority")
    op.drop_column("runs", "study")
