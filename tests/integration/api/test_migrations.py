"""Up, no drift, down: the migrations are the tables."""

from __future__ import annotations

import threading

from alembic import command
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.orm import Session

from api.db.migrate import alembic_config, current_revision, head_revision, migrate
from api.db.tables import Run
from api.runs.views import summaries
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


def test_runs_of_the_first_version_are_kept_on_the_way_up_and_down(empty_database_url: str) -> None:
    engine = create_engine(empty_database_url)
    try:
        with engine.connect() as connection:
            command.upgrade(alembic_config(connection), "0001")
            connection.execute(text("INSERT INTO users (name, role) VALUES ('max', 'member')"))
            connection.execute(
                text(
                    "INSERT INTO runs (id, user_id, name, request, request_sha256, spec)"
                    " VALUES ('r1', 1, 'old', '{}', 'x', '{\"model\": {\"name\": \"m\"}}')"
                )
            )
            connection.commit()
        migrate(engine)
        with Session(engine) as session:
            [summary] = summaries(session, [session.get_one(Run, "r1")])
            assert (summary.priority, summary.study, summary.copied_from, summary.data) == (0, None, None, "digits")
        with engine.connect() as connection:
            # The version before this one goes on inserting while this one comes up.
            connection.execute(
                text(
                    "INSERT INTO runs (id, user_id, name, request, request_sha256, spec)"
                    " VALUES ('r2', 1, 'new', '{}', 'x', '{}')"
                )
            )
            connection.commit()
            command.downgrade(alembic_config(connection), "0001")
            connection.commit()
            assert connection.execute(text("SELECT id FROM runs ORDER BY id")).scalars().all() == ["r1", "r2"]
    finally:
        engine.dispose()
