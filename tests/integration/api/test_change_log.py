"""The table of changes: kept for an hour, and worth nothing in another database than the one that wrote it."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, text

from api.db import changes
from api.db.changes import Position, adopt, read_on, trim
from api.settings import Settings
from tests.integration.api.conftest import serving
from tests.integration.api.listening import listening
from tests.integration.api.stack import Api


def age(engine: Engine, seconds: float) -> None:
    with engine.begin() as connection:
        connection.execute(text("UPDATE changes SET at = at - make_interval(secs => :s)"), {"s": seconds})


class TestTrim:
    def test_what_is_old_goes_and_its_readers_are_told_to_fetch(self, api: Api) -> None:
        with listening(api) as ear:
            before = ear.hello.id
        api.new_run()
        with listening(api, header=before) as ear:
            ear.next("run")
            behind = ear.next_event("position").id
        age(api.engine, 3601)
        old = api.count("changes")
        recent = api.new_run()
        assert trim(api.engine) == old
        with listening(api, header=before) as ear:
            assert ear.hello.data["replays"] is False
            assert ear.next_any().kind == "resync"
        with listening(api, header=behind) as ear:
            assert ear.hello.data["replays"] is True
            assert ear.next("run")["id"] == recent

    def test_it_goes_in_batches_to_the_last_row(self, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(changes, "TRIM_BATCH", 3)
        for _ in range(5):
            api.new_run()
        old = api.count("changes")
        age(api.engine, 3601)
        assert trim(api.engine) == old
        assert trim(api.engine) == 0
        assert api.count("changes") == 0

    def test_only_a_beginning_of_the_order_goes(self, api: Api) -> None:
        """What came after a recent change stays, however old its transaction says it is."""
        with api.engine.begin() as connection:
            for number, seconds in enumerate([9000, 0, 9000]):
                connection.execute(
                    text(
                        "INSERT INTO changes (kind, run_id, user_id, visibility, data, at)"
                        " VALUES ('run', 'r', 1, 'team', '{}', now() - make_interval(secs => :s))"
                    ),
                    {"s": seconds, "n": number},
                )
        assert trim(api.engine) == 1
        assert api.count("changes") == 2

    def test_what_an_older_transaction_holds_back_stays(self, api: Api) -> None:
        api.new_run()
        with api.engine.connect() as older:
            older.execute(text("SELECT pg_current_xact_id()"))
            api.new_run()
            age(api.engine, 3601)
            trim(api.engine)
            assert api.count("changes") > 0

    def test_two_at_once_do_it_once(self, api: Api) -> None:
        api.new_run()
        age(api.engine, 3601)
        with api.engine.begin() as other:
            other.execute(text("SELECT id FROM change_log FOR UPDATE"))
            assert trim(api.engine) == 0
        assert trim(api.engine) > 0


class TestAnotherDatabase:
    def test_changes_of_another_cluster_go_and_do_not_hide_new_ones(self, settings: Settings, engine: Engine) -> None:
        with engine.begin() as connection:
            connection.execute(
                text(
                    "INSERT INTO changes (xid, kind, run_id, user_id, visibility, data)"
                    " VALUES (1000000000000, 'run', 'r', 1, 'team', '{}')"
                )
            )
            connection.execute(text("UPDATE change_log SET lineage = '1/1'"))
        with serving(settings, engine) as api:
            with listening(api, header="1000000000000.0") as ear:
                assert ear.hello.data["replays"] is False
                assert ear.next_any().kind == "resync"
                run_id = api.new_run()
                assert ear.next_any().data["id"] == run_id
            assert api.count("changes", xid=1000000000000) == 0

    def test_a_position_from_before_a_restore_is_not_continued(self, settings: Settings, engine: Engine) -> None:
        with serving(settings, engine) as api:
            with listening(api) as ear:
                cursor = ear.hello.id
            api.new_run()
        with engine.begin() as connection:
            connection.execute(text("UPDATE change_log SET lineage = '1/1'"))
        with serving(settings, engine) as api, listening(api, header=cursor) as ear:
            assert ear.hello.data["replays"] is False
            assert ear.next_any().kind == "resync"
        assert api.count("changes") == 0

    def test_changes_above_every_transaction_go_though_the_database_is_ours(self, engine: Engine) -> None:
        adopt(engine)
        with engine.begin() as connection:
            for xid in ("DEFAULT", "1000000000000"):
                connection.execute(
                    text(
                        "INSERT INTO changes (xid, kind, run_id, user_id, visibility, data)"
                        f" VALUES ({xid}, 'run', 'r', 1, 'team', '{{}}')"
                    )
                )
        adopt(engine)
        batch = read_on(engine, Position(0, 0), most=10)
        assert len(batch.changes) == 1
        assert not batch.can_continue(Position(0, 0)), "what lay above was told to nobody"
        assert batch.can_continue(batch.horizon)

    def test_adopting_again_changes_nothing(self, engine: Engine) -> None:
        adopt(engine)
        first = read_on(engine, Position(0, 0), most=10).kept_after
        with engine.begin() as connection:
            connection.execute(text("SELECT pg_current_xact_id()"))
        adopt(engine)
        assert read_on(engine, Position(0, 0), most=10).kept_after == first

    def test_an_open_stream_that_cannot_go_on_says_so_and_goes_on(self, api: Api) -> None:
        """A change comes and is deleted before the reader looks, as after a long stop of the process."""
        with listening(api) as ear:
            with api.engine.begin() as connection:
                connection.execute(
                    text(
                        "WITH new AS (INSERT INTO changes (kind, run_id, user_id, visibility, data)"
                        " VALUES ('run', 'r', 1, 'team', '{}') RETURNING xid, id)"
                        " UPDATE change_log SET kept_after_xid = new.xid, kept_after_id = new.id FROM new"
                    )
                )
            assert ear.next_any().kind == "resync"
            run_id = api.new_run()
            assert ear.next_any().data["id"] == run_id
