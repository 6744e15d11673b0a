"""Alembic's entry: runs migrations on the connection that `api.db.migrate` passes."""

from __future__ import annotations

from alembic import context

import api.db.operations_tables
import api.db.use_tables
import api.db.watching_tables
import api.db.webhook_tables  # noqa: F401 - these hold tables of the metadata
from api.db.tables import Base

connection = context.config.attributes["connection"]
assert connection is not None, "migrations run through `python -m api.db.migrate`"
context.configure(
    connection=connection,
    target_metadata=Base.metadata,
    compare_type=True,
    compare_server_default=True,
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
