"""Live changes come once, in order, without a gap: in whatever order transactions end, however often one reconnects."""

from __future__ import annotations

import asyncio
import gc
import random
import threading
import time
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from sqlalchemy import Connection, Engine, text

from api.db.changes import Change
from api.db.engine import publish, transaction
from api.db.tables import Run
from api.routes import feed, following
from api.runs.live import LiveOutbox
from api.settings import Settings
from tests.integration.api.conftest import serving
from tests.integration.api.listening import Ear, events_in, listening, streaming
from tests.integration.api.stack import Api

WRITERS = 4
CHANGES = 5000
RECONNECTS = 50


@pytest.fixture
def outbox(settings: Settings) -> Iterator[LiveOutbox]:
    outbox = LiveOutbox(settings)
    yield outbox
    outbox.close()


def tell(connection: Connection, words: str, *, visibility: str = "team", user_id: int = 1) -> None:
    """Writes a change of the run list, as `api.db.changes.write_changes` does, in an open transaction."""
    connection.execute(
        text(
            "INSERT INTO changes (kind, run_id, user_id, visibility, data)"
            " VALUES ('run', 'r', :user_id, :visibility, jsonb_build_object('words', CAST(:words AS text)))"
        ),
        {"words": words, "visibility": visibility, "user_id": user_id},
    )


@contextmanager
def open_transaction(engine: Engine) -> Iterator[Connection]:
    """One that has its xid already."""
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_current_xact_id()"))
        yield connection


def words(ear: Ear, number: int) -> list[str]:
    return [ear.next("run")["words"] for _ in range(number)]


class TestTransactionsThatEndInAnotherOrder:
    def test_both_are_told_once_in_order_though_the_second_commits_first(self, api: Api) -> None:
        with listening(api) as ear, open_transaction(api.engine) as first, open_transaction(api.engine) as second:
            tell(first, "first")
            tell(second, "second")
            second.commit()
            time.sleep(0.7)
            assert ear.heard() == [], "nothing may be told that something earlier could still precede"
            first.commit()
            assert words(ear, 2) == ["first", "second"]
            time.sleep(0.7)
            assert ear.heard() == []

    def test_nothing_is_lost_where_the_older_transaction_took_the_higher_id(self, api: Api) -> None:
        with listening(api) as ear, open_transaction(api.engine) as older, open_transaction(api.engine) as younger:
            tell(younger, "lower id")
            tell(older, "higher id")
            older.commit()
            time.sleep(0.7)
            younger.commit()
            assert sorted(words(ear, 2)) == ["higher id", "lower id"]
            time.sleep(0.7)
            assert ear.heard() == []

    def test_a_reader_that_comes_in_between_has_both_when_it_returns(self, api: Api) -> None:
        with open_transaction(api.engine) as older, open_transaction(api.engine) as younger:
            with listening(api) as ear:
                tell(younger, "lower id")
                tell(older, "higher id")
                older.commit()
                time.sleep(0.7)
            younger.commit()
        with listening(api, header=ear.last_id) as again:
            assert again.hello.data["replays"] is True
            told = [heard.data["words"] for heard in ear.heard() if heard.kind == "run"]
            told += words(again, 2 - len(told))
            assert sorted(told) == ["higher id", "lower id"]

    def test_the_newest_state_of_a_run_is_told_last_though_its_transaction_is_the_older(
        self, api: Api, outbox: LiveOutbox
    ) -> None:
        """The older one waits for the run that the younger one changes: its xid is lower, its state is newer."""
        run_id = api.new_run(name="first")
        with listening(api) as ear:
            with transaction(api.engine, outbox) as older:
                older.execute(text("SELECT pg_current_xact_id()"))
                with transaction(api.engine, outbox) as younger:
                    younger.get_one(Run, run_id, with_for_update=True).name = "second"
                    publish(younger, run_id)
                older.get_one(Run, run_id, with_for_update=True).name = "third"
                publish(older, run_id)
            assert [ear.next("run")["name"] for _ in range(2)] == ["second", "third"]

    def test_a_run_that_somebody_else_is_changing_is_left_to_them(self, api: Api, outbox: LiveOutbox) -> None:
        """A summary rendered beside a change under way would be told after it and be older."""
        run_id, other = api.new_run(name="before"), api.new_run(name="other")
        with listening(api) as ear:
            with transaction(api.engine, outbox) as changing:
                changing.get_one(Run, run_id, with_for_update=True).name = "after"
                publish(changing, run_id)
                with transaction(api.engine, outbox) as beside:
                    publish(beside, run_id)
                    publish(beside, other)
            assert {ear.next("run")["name"] for _ in range(2)} == {"other", "after"}
            time.sleep(0.7)
            assert ear.heard() == []


def test_fifty_reconnects_in_a_burst_of_five_thousand_changes_miss_none_and_see_none_twice(
    settings: Settings, engine: Engine, outbox: LiveOutbox
) -> None:
    """Between two API processes in turn, so that a position of one is ahead of the other's."""
    chance = random.Random(0)

    def write(writer: int) -> None:
        mine = random.Random(writer)
        number = 0
        while number < CHANGES // WRITERS:
            with transaction(engine, outbox) as session:
                if mine.random() < 0.3:  # An xid long before the rows are written.
                    session.execute(text("SELECT pg_current_xact_id()"))
                    time.sleep(mine.random() * 0.02)
                for _ in range(min(mine.randint(1, 9), CHANGES // WRITERS - number)):
                    data = {"writer": writer, "number": number}
                    publish(session, Change(kind="run", run_id="r", user_id=1, visibility="team", data=data))
                    number += 1

    told: list[tuple[int, int]] = []
    reconnects = 0
    with serving(settings, engine) as one, serving(settings, engine) as other, ThreadPoolExecutor(WRITERS) as pool:
        with listening(one) as ear:
            cursor = ear.hello.id
        writing = [pool.submit(write, writer) for writer in range(WRITERS)]
        while len(told) < CHANGES:
            patience = chance.randint(1, 2 * CHANGES // RECONNECTS) if reconnects < RECONNECTS else CHANGES
            with streaming([one, other][reconnects % 2], header=cursor) as response:
                for heard in events_in(response):
                    cursor = heard.id
                    assert heard.kind in ("hello", "run", "position")
                    assert heard.kind != "hello" or heard.data["replays"]
                    if heard.kind == "run":
                        told.append((heard.data["writer"], heard.data["number"]))
                        patience -= 1
                    if patience == 0 or len(told) == CHANGES:
                        break
            reconnects += 1
        for each in writing:
            each.result()
        with listening(one, header=cursor) as ear:
            time.sleep(0.7)
            told += [(heard.data["writer"], heard.data["number"]) for heard in ear.heard() if heard.kind == "run"]
    assert reconnects >= RECONNECTS
    assert len(told) == len(set(told)) == CHANGES
    for writer in range(WRITERS):
        assert [number for who, number in told if who == writer] == list(range(CHANGES // WRITERS))


def test_a_slow_reader_loses_nothing(api: Api, outbox: LiveOutbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "MAX_WAITING", 3)
    with streaming(api) as response:
        heard = events_in(response)
        assert next(heard).kind == "hello"
        for batch in range(4):
            with transaction(api.engine, outbox) as session:
                for number in range(300):
                    data = {"number": 300 * batch + number, "padding": "x" * 1000}
                    publish(session, Change(kind="run", run_id="r", user_id=1, visibility="team", data=data))
        numbers = [event.data["number"] for event in heard_until(heard, 1200)]
    assert numbers == list(range(1200))


def heard_until(heard: Iterator, number: int) -> Iterator:  # type: ignore[type-arg]
    """The next `number` changes; marks of the position between them are passed over."""
    while number:
        event = next(heard)
        if event.kind == "run":
            number -= 1
            yield event
        else:
            assert event.kind == "position"


def test_a_quiet_reader_is_told_newer_positions(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "QUIET_SECONDS", 0.2)
    run_id = api.new_run()
    with listening(api, topics="run:000000000000") as ear:
        before = tuple(map(int, ear.hello.id.split(".")))
        api.cancel(run_id)
        assert tuple(map(int, ear.next_event("position").id.split("."))) > before
        assert {heard.kind for heard in ear.heard()} <= {"position"}


class TestWhoMaySee:
    def test_history_holds_private_runs_for_owner_and_admins_only(self, api: Api) -> None:
        with listening(api) as ear:
            start = ear.hello.id
        private, shared = api.new_run("max", visibility="private"), api.new_run("max")
        for who, expected in (
            ("mia", [shared]),
            ("vic", [shared]),
            ("max", [private, shared]),
            ("ada", [private, shared]),
        ):
            with listening(api, who, header=start) as ear:
                assert [ear.next("run")["id"] for _ in expected] == expected, who
                ear.next("position")
                assert ear.heard() == []

    def test_asking_for_a_private_run_by_its_id_tells_nothing(self, api: Api) -> None:
        with listening(api) as ear:
            start = ear.hello.id
        private = api.new_run("max", visibility="private")
        with listening(api, "mia", topics=f"runs,run:{private}", header=start) as ear:
            ear.next("position")
            api.cancel(private)
            seen = api.new_run("mia")
            assert ear.next("run")["id"] == seen

    def test_history_is_cut_to_the_topics(self, api: Api) -> None:
        with listening(api) as ear:
            start = ear.hello.id
        first = api.new_run()
        api.new_run()
        api.cancel(first)
        with listening(api, topics=f"run:{first}", header=start) as ear:
            kinds = []
            while (heard := ear.next_any()).kind != "position":
                kinds.append(heard.kind)
                assert heard.data.get("run_id", heard.data.get("id")) == first
            assert kinds == ["run", "event", "run", "event"]


class TestTheId:
    def test_the_header_counts_before_the_query(self, api: Api) -> None:
        with listening(api) as ear:
            start = ear.hello.id
        first = api.new_run()
        with listening(api, query=start) as ear:
            assert ear.hello.data == {"life_seconds": 600, "replays": True}
            assert ear.hello.id == start
            assert ear.next("run")["id"] == first
            end = ear.next_event("position").id
        second = api.new_run()
        with listening(api, query=start, header=end) as ear:
            assert ear.next("run")["id"] == second

    def test_without_one_nothing_is_replayed_and_nothing_is_wrong(self, api: Api) -> None:
        api.new_run()
        for empty in (None, ""):
            with listening(api, query=empty) as ear:
                assert ear.hello.data["replays"] is False
                run_id = api.new_run()
                assert ear.next_any().data["id"] == run_id

    @pytest.mark.parametrize("words", ["x", "1", "1.2.3", "-1.0", "1.1e3", "9" * 40, "9223372036854775807.1", "٣.٤"])
    def test_one_that_means_nothing_here_calls_for_a_fetch_and_the_stream_goes_on(self, api: Api, words: str) -> None:
        with listening(api, query=words) as ear:
            assert ear.hello.data["replays"] is False
            assert ear.next_any().kind == "resync"
            run_id = api.new_run()
            assert ear.next_any().data["id"] == run_id

    def test_many_readers_hear_the_same(self, api: Api) -> None:
        heard: list[list[str]] = []

        def read() -> None:
            with listening(api) as ear:
                ready.release()
                heard.append([ear.next_event("run").id for _ in range(10)])

        ready = threading.Semaphore(0)
        readers = [threading.Thread(target=read) for _ in range(8)]
        for reader in readers:
            reader.start()
        for _ in readers:
            ready.acquire()
        for _ in range(10):
            api.new_run()
        for reader in readers:
            reader.join(30)
        assert len(heard) == 8
        assert all(ids == heard[0] for ids in heard)


def test_a_reader_who_leaves_in_a_burst_leaves_no_generator_to_the_collector(
    settings: Settings,
    engine: Engine,
    outbox: LiveOutbox,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Whatever the collector closes it closes in any order, and may come upon one that is being closed."""
    collected: list[str] = []
    collect = asyncio.BaseEventLoop._asyncgen_finalizer_hook  # type: ignore[attr-defined]

    def recorded(loop: asyncio.BaseEventLoop, generator: AsyncGenerator[object]) -> None:
        collected.append(generator.__qualname__)
        collect(loop, generator)

    monkeypatch.setattr(asyncio.BaseEventLoop, "_asyncgen_finalizer_hook", recorded)
    with serving(settings, engine) as api:
        for _ in range(5):
            with streaming(api) as response:
                heard = events_in(response)
                assert next(heard).kind == "hello"
                with transaction(engine, outbox) as session:
                    for number in range(300):
                        data = {"number": number, "padding": "x" * 10_000}
                        publish(session, Change(kind="run", run_id="r", user_id=1, visibility="team", data=data))
                assert next(heard).kind == "run"
    gc.collect()
    assert not collected
    assert "unexpected_error" not in capfd.readouterr().out, "to leave is no error"
