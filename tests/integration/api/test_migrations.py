"""Up, no drift, down: the migrations are the tables."""

from __future__ import annotations

import threading

from alembic import command
from sqlalchemy import create_engine, inspect, text

from api.db.migrate import alembic_config, current_revision, head_revision, migrate
from trainer.contract.metrics import CATALOGUE


def test_upgrade_gives_the_tables_without_drift_and_downgrade_takes_all_away(empty_database_url: str) -> None:
    engine = create_engine(empty_database_url)
    try:
        migrate(engine)
        with engine.connect() as connection:
            assert current_revision(connection) == head_revision()
            command.check(alembic_config(connection))  # Raises where tables.py says something else.
            command.downgrade(alembic_config(connection), "base")
            connection.commit()
            assert inspect(connection).get_table_names() == ["alembic_version"]
    finally:
        engine.dispose()


def test_eight_migrations_at_once_give_one_database_at_head(empty_database_url: str) -> None:
    failures: list[BaseException] = []

    def run() -> None:
        engine = create_engine(empty_database_url)
        try:
            migrate(engine)
        except BaseException as error:
            failures.append(error)
        finally:
            engine.dispose()

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    engine = create_engine(empty_database_url)
    with engine.connect() as connection:
        names = connection.execute(text("SELECT name FROM metric_names ORDER BY id")).scalars().all()
    engine.dispose()
    assert sorted(names) == sorted(metric.name for metric in CATALOGUE)
