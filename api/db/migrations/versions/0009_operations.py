"""Hosts that take no new runs; what a look at every part of the installation found."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009"
down_revision = "0008"

MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    op.create_table(
        "drained_hosts",
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("by", sa.String(length=80), nullable=False),
        sa.Column("reason", sa.String(length=200), server_default="", nullable=False),
        sa.Column("moves", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("at", MOMENT, server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("host", name=op.f("pk_drained_hosts")),
    )
    op.create_table(
        "diagnosis_parts",
        sa.Column("diagnosis_id", sa.String(length=16), nullable=False),
        sa.Column("part", sa.String(length=280), nullable=False),
        sa.Column("began_at", MOMENT, server_default=sa.func.now(), nullable=False),
        sa.Column("submission_id", sa.String(length=64), nullable=True),
        sa.Column("about", postgresql.JSONB(), server_default="{}", nullable=False),
        sa.Column("findings", postgresql.JSONB(), nullable=True),
        sa.PrimaryKeyConstraint("diagnosis_id", "part", name=op.f("pk_diagnosis_parts")),
    )
    op.create_index("ix_diagnosis_parts_began", "diagnosis_parts", ["began_at"])


def downgrade() -> None:
    op.drop_table("diagnosis_parts")
    op.drop_table("drained_hosts")
