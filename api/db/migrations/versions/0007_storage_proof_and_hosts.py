"""Which storage the runs lie on, and on which hosts an attempt was placed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    # Empty until this version has seen the storage.
    op.create_table(
        "storage_proof",
        sa.Column("id", sa.SmallInteger(), server_default="1", autoincrement=False, nullable=False),
        sa.Column("proof", sa.String(length=64), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_storage_proof_single")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_storage_proof")),
    )
    # Nullable: no row is rewritten, and the version that still runs can insert.
    op.add_column("attempts", sa.Column("hosts", postgresql.JSONB(), nullable=True))


def downgrade() -> None:
    op.drop_column("attempts", "hosts")
    op.drop_table("storage_proof")
