"""`python -m api.db.migrate`: brings the database to this version, once, however many start it at the same time.

`--to 0007` takes it back instead, to what an older version works with: rows stay, and what only later versions keep is
dropped. Only a version that knows the later migrations can do that, and nobody may write meanwhile.

Waits while the database starts. A migration must suit the version that is still running, and gives up after four
seconds behind a lock rather than stop the service. Its downgrade() must keep whatever the version before it knows.
Exit codes: 0 done, 1 the database did not do it, 2 refused.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import OperationalError, SQLAlchemyError

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


class Refused(Exception):
    """The database stays as it is; the message says why and what to do."""


def migrate(engine: Engine) -> None:
    """Upgrades to head and enters the catalogue's metric names, under one advisory lock."""
    with _locked(engine) as connection:
        command.upgrade(alembic_config(connection), "head")
        _enter_metric_names(connection)
        connection.commit()


def migrate_back(engine: Engine, revision: str) -> None:
    """Downgrades to `revision`, under the same lock; does nothing where the database is there already.

    All migrations in one transaction: looking at the revision begins it, so Alembic commits none by itself.
    Raises Refused.
    """
    with _locked(engine) as connection:
        current = current_revision(connection)
        if current == revision:
            return
        if current not in known_revisions():
            raise Refused(
                f"the database is at {current}, which this version does not know: take it back with the version that"
                " brought it there"
            )
        earlier = {script.revision for script in _scripts().iterate_revisions(current, "base")}
        if revision not in earlier:
            raise Refused(
                f"the database is at {current}, and {revision} is none of the migrations before it"
                f" ({', '.join(sorted(earlier))}): name one of those"
            )
        try:
            command.downgrade(alembic_config(connection), revision)
        except NotImplementedError as error:
            raise Refused(f"a migration between {current} and {revision} cannot be taken back: {error}") from error
        connection.commit()


@contextmanager
def _locked(engine: Engine) -> Iterator[Connection]:
    """A connection that alone may migrate, with a migration's timeouts."""
    with engine.connect() as connection:
        connection.execute(text(f"SET statement_timeout = '{STATEMENT_TIMEOUT}'"))
        connection.execute(text("SET lock_timeout = 0"))  # Another migration may take its time.
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": ADVISORY_LOCK})
        connection.execute(text(f"SET lock_timeout = '{LOCK_TIMEOUT}'"))
        connection.commit()
        try:
            yield connection
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
    head = _scripts().get_current_head()
    assert head is not None, "there is at least one migration"
    return head


def known_revisions() -> set[str]:
    """Every revision that this version can upgrade from, its own included."""
    return {script.revision for script in _scripts().walk_revisions()}


def current_revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(alembic_config())


def _enter_metric_names(connection: Connection) -> None:
    # Only names that are missing: a conflict would burn one of 32,767 identities.
    connection.execute(
        text(
            "INSERT INTO metric_names (name) SELECT name FROM unnest(CAST(:names AS varchar[])) AS catalogue(name)"
            " WHERE name NOT IN (SELECT name FROM metric_names)"
        ),
        {"names": [metric.name for metric in CATALOGUE]},
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m api.db.migrate", description="Brings the tables to this version.")
    parser.add_argument("--to", metavar="REVISION", help="take the database back to this one, such as 0007, instead")
    back_to = parser.parse_args(arguments).to
    engine = make_engine(settings_or_exit(), application="basin-migrate")
    give_up_at = time.monotonic() + WAIT_FOR_DATABASE_SECONDS
    while True:
        try:
            migrate_back(engine, back_to) if back_to else migrate(engine)
        except OperationalError as error:
            if time.monotonic() > give_up_at:
                sys.stderr.write(f"The database did not answer within {WAIT_FOR_DATABASE_SECONDS} s: {error.orig}\n")
                return 1
            log.info("database_not_ready", error=str(error.orig).strip())
            time.sleep(0.3)
        except SQLAlchemyError as error:
            sys.stderr.write(f"The migration failed: {error}\n")
            return 1
        except Refused as refusal:
            sys.stderr.write(f"Nothing was migrated: {refusal}\n")
            return 2
        else:
            log.info("database_migrated", revision=back_to or head_revision())
            return 0


if __name__ == "__main__":
    sys.exit(main())
