"""`python -m api.db.migrate`: brings the database to this version, once, however many start it at the same time.

Waits while the database starts. A migration must suit the version that is still running, and gives up after four
seconds behind a lock rather than stop the service.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import structlog
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import OperationalError

from api.db.engine import make_engine
from api.settings import settings_or_exit
from trainer.contract.metrics import CATALOGUE

log = structlog.get_logger()

MIGRATIONS = Path(__file__).with_name("migrations")
WAIT_FOR_DATABASE_SECONDS = 120
LOCK_TIMEOUT = "4s"
STATEMENT_TIMEOUT = "60s"
ADVISORY_LOCK = 0x6261_7369_6E00
"""Any fixed number: "basin" in ASCII."""


def migrate(engine: Engine) -> None:
    """Upgrades to head and enters the catalogue's metric names, under one advisory lock."""
    with engine.connect() as connection:
        connection.execute(text(f"SET statement_timeout = '{STATEMENT_TIMEOUT}'"))
        connection.execute(text("SET lock_timeout = 0"))  # Another migration may take its time.
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": ADVISORY_LOCK})
        connection.execute(text(f"SET lock_timeout = '{LOCK_TIMEOUT}'"))
        connection.commit()
        try:
            command.upgrade(alembic_config(connection), "head")
            _enter_metric_names(connection)
            connection.commit()
        finally:
            connection.rollback()
            connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": ADVISORY_LOCK})
            connection.commit()
            connection.detach()  # The pool must not hand out a connection with our timeouts.


def alembic_config(connection: Connection | None = None) -> Config:
    """Alembic's configuration without an ini file; `migrations/env.py` takes the connection from it."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    return config


def head_revision() -> str:
    head = ScriptDirectory.from_config(alembic_config()).get_current_head()
    assert head is not None, "there is at least one migration"
    return head


def known_revisions() -> set[str]:
    """Every revision that this version can upgrade from, its own included."""
    return {script.revision for script in ScriptDirectory.from_config(alembic_config()).walk_revisions()}


def current_revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _enter_metric_names(connection: Connection) -> None:
    # Only names that are missing: a conflict would burn one of 32,767 identities.
    connection.execute(
        text(
            "INSERT INTO metric_names (name) SELECT name FROM unnest(CAST(:names AS varchar[])) AS catalogue(name)"
            " WHERE name NOT IN (SELECT name FROM metric_names)"
        ),
        {"names": [metric.name for metric in CATALOGUE]},
    )


def main() -> int:
    settings = settings_or_exit()
    engine = make_engine(settings, application="basin-migrate")
    give_up_at = time.monotonic() + WAIT_FOR_DATABASE_SECONDS
    while True:
        try:
            migrate(engine)
        except OperationalError as error:
            if time.monotonic() > give_up_at:
                sys.stderr.write(f"The database did not answer within {WAIT_FOR_DATABASE_SECONDS} s: {error.orig}\n")
                return 1
            log.info("database_not_ready", error=str(error.orig).strip())
            time.sleep(0.3)
        else:
            log.info("database_migrated", revision=head_revision())
            return 0


if __name__ == "__main__":
    sys.exit(main())
