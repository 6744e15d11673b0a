"""Up, no drift, down: the migrations are the tables."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Engine, create_engine, inspect, text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.orm import Session

from api.db.migrate import Refused, alembic_config, current_revision, head_revision, migrate, migrate_back
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


class TestWayBack:
    @pytest.fixture
    def engine(self, empty_database_url: str) -> Iterator[Engine]:
        """At head, with a run."""
        engine = create_engine(empty_database_url)
        migrate(engine)
        with engine.begin() as connection:
            connection.execute(text("INSERT INTO users (name, role) VALUES ('max', 'member')"))
            connection.execute(
                text(
                    "INSERT INTO runs (id, user_id, name, request, request_sha256, spec, traceparent)"
                    " VALUES ('r1', 1, 'new', '{}', 'x', '{}', 'of a later version')"
                )
            )
        yield engine
        engine.dispose()

    def revision(self, engine: Engine) -> str | None:
        with engine.connect() as connection:
            return current_revision(connection)

    def test_rows_that_the_older_version_knows_stay(self, engine: Engine) -> None:
        migrate_back(engine, "0007")
        migrate_back(engine, "0007")
        assert self.revision(engine) == "0007"
        with engine.connect() as connection:
            assert connection.execute(text("SELECT id FROM runs")).scalars().all() == ["r1"]
            assert "canaries" not in inspect(connection).get_table_names()
        migrate(engine)
        assert self.revision(engine) == head_revision()

    def test_a_failure_half_way_leaves_the_database_at_head(self, engine: Engine) -> None:
        with engine.begin() as connection:
            # What 0007 drops, after 0009 and 0008 have gone.
            connection.execute(text("ALTER TABLE storage_proof RENAME TO moved"))
        with pytest.raises(ProgrammingError):
            migrate_back(engine, "0006")
        assert self.revision(engine) == head_revision()

    def test_a_migration_that_cannot_be_taken_back_is_said(
        self, engine: Engine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def cannot(config: Config, revision: str) -> None:
            raise NotImplementedError("it has merged two columns")

        monkeypatch.setattr(command, "downgrade", cannot)
        with pytest.raises(Refused, match="cannot be taken back: it has merged two columns"):
            migrate_back(engine, "0007")

    @pytest.mark.parametrize("revision", ["9999", "0001x"])
    def test_only_to_a_migration_before_it(self, engine: Engine, revision: str) -> None:
        with pytest.raises(Refused, match=f"{revision} is none of the migrations before it"):
            migrate_back(engine, revision)

    def test_only_from_one_that_this_version_knows(self, engine: Engine) -> None:
        with engine.begin() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        with pytest.raises(Refused, match="is at 9999, which this version does not know"):
            migrate_back(engine, "0007")
