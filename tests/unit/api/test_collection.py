"""How a pass of collection goes: what it holds while the storage is looked at, and who gets how much of its time.

The database is a list of ids here; what is taken from real rows is looked at in the integration tests.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from sqlalchemy.exc import OperationalError

from api.runs import collectable_folders, collection
from api.runs.collection import Kind
from api.settings import Settings

IDS = tuple(f"{number:012x}" for number in range(7))
AT_ONCE = 2


@dataclass
class Database:
    """Ids of runs; whether a transaction is open; how many parameters a statement had."""

    ids: list[str] = field(default_factory=lambda: [*IDS])
    open: bool = False
    widest: int = 0

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        self.open = True
        yield SimpleNamespace(scalars=self._scalars)
        self.open = False

    def _scalars(self, statement: Any) -> list[str]:
        compiled = statement.compile()
        values = [value for name, value in compiled.params.items() if name.startswith("id_")]
        named = [value for value in values if isinstance(value, list)]
        if named:
            self.widest = max(self.widest, len(named[0]))
            return [each for each in self.ids if each in named[0]]
        words = str(compiled)
        after = [compiled.params[name] for name in compiled.params if f"runs.id > :{name} " in f"{words} "]
        until = [compiled.params[name] for name in compiled.params if f"runs.id <= :{name} " in f"{words} "]
        found = [each for each in sorted(self.ids) if all(each > a for a in after) and all(each <= u for u in until)]
        return found[: compiled.params["param_1"]]


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> Database:
    monkeypatch.setattr(collectable_folders, "IDS_AT_ONCE", AT_ONCE)
    return Database()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    for run_id in IDS:
        (tmp_path / "runs" / run_id / "attempts" / "1" / "log").mkdir(parents=True)
    return cast(Settings, SimpleNamespace(storage=tmp_path))


Scan = Callable[..., Iterator[Path]]


class TestScans:
    @pytest.mark.parametrize("start", [IDS[0], IDS[3], IDS[-1], "f" * 12])
    def test_every_run_is_come_to_wherever_a_scan_begins(
        self, database: Database, settings: Settings, start: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(collectable_folders, "secrets", SimpleNamespace(token_hex=lambda _: start))
        found = [*collectable_folders.old_logs(database.transaction, settings, 1, float("inf"))]
        assert sorted(path.parts[-4] for path in found) == [*IDS]

    @pytest.mark.parametrize("scan", [collectable_folders.old_logs, collectable_folders.orphans])
    def test_no_transaction_is_open_while_the_storage_is_looked_at(
        self, database: Database, settings: Settings, scan: Scan, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        looked: list[bool] = []
        real = collectable_folders.run_folder
        monkeypatch.setattr(
            collectable_folders, "run_folder", lambda *given: (looked.append(database.open), real(*given))[1]
        )
        looked.extend(database.open for _ in scan(database.transaction, settings, 1, float("inf")))
        assert len(looked) >= len(IDS)
        assert not any(looked)

    @pytest.mark.parametrize("scan", [collectable_folders.old_logs, collectable_folders.orphans])
    def test_a_scan_ends_with_its_time_though_it_finds_nothing(
        self, database: Database, settings: Settings, scan: Scan, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        looked: list[str] = []
        monkeypatch.setattr(collectable_folders, "run_folder", lambda _, run_id: looked.append(run_id))
        clock = iter(range(100))
        monkeypatch.setattr(collectable_folders, "time", SimpleNamespace(monotonic=lambda: next(clock)))
        assert [*scan(database.transaction, settings, 1, 3.0)] == []
        assert len(looked) == 3

    def test_orphans_are_asked_for_in_pages(self, database: Database, settings: Settings) -> None:
        """One statement takes no more than 65,535 parameters."""
        database.ids = [*IDS[:5]]
        for run_id in IDS:
            for path in (*(settings.storage / "runs" / run_id).rglob("*"), settings.storage / "runs" / run_id):
                os.utime(path, (1.0, 1.0))
        found = collectable_folders.orphans(database.transaction, settings, 1, float("inf"))
        assert sorted(path.name for path in found) == [*IDS[5:]]
        assert database.widest == AT_ONCE


def folders(found: Callable[[float], Iterator[Path]], name: str) -> Kind:
    return Kind(
        name=name, what="", setting=None, kept_days=lambda _: 1.0, folders=lambda _, __, ___, until: found(until)
    )  # fmt: skip


class TestTurns:
    @pytest.fixture(autouse=True)
    def _storage_is_there(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(collection, "is_there", lambda *_: True)

    @staticmethod
    def collected(monkeypatch: pytest.MonkeyPatch, *kinds: Kind, seconds: float = 60.0) -> dict[str, int]:
        monkeypatch.setattr(collection, "KINDS", kinds)
        return collection.collect(
            Database().transaction, cast(Settings, SimpleNamespace(storage=None)), seconds=seconds
        )

    def test_a_kind_that_fails_does_not_keep_the_others_from_their_turn(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fails(error: Exception) -> Callable[[float], Iterator[Path]]:
            def scan(_: float) -> Iterator[Path]:
                raise error
                yield tmp_path

            return scan

        def works(_: float) -> Iterator[Path]:
            (tmp_path / "old").mkdir()
            yield tmp_path / "old"

        gone = self.collected(
            monkeypatch,
            folders(fails(PermissionError("no")), "closed"),
            folders(fails(OperationalError("SELECT", {}, Exception("terminating connection"))), "cut off"),
            folders(works, "good"),
        )
        assert gone == {"good": 1}

    def test_one_with_much_to_do_leaves_the_others_their_share(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        now = 0.0
        monkeypatch.setattr(collection, "time", SimpleNamespace(monotonic=lambda: now))

        def endless(until: float) -> Iterator[Path]:
            nonlocal now
            while now < until:
                now += 1.0
                (tmp_path / "old").mkdir(exist_ok=True)
                yield tmp_path / "old"

        gone = self.collected(monkeypatch, *(folders(endless, name) for name in ("a", "b", "c")))
        assert {name: 15 <= count <= 25 for name, count in gone.items()} == dict.fromkeys("abc", True)
        assert now == 60.0

    def test_what_cannot_be_removed_is_passed_over(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def scan(_: float) -> Iterator[Path]:
            (tmp_path / "old").mkdir()
            yield from (tmp_path / "gone", tmp_path / "old")

        assert self.collected(monkeypatch, folders(scan, "logs")) == {"logs": 1}

    def test_a_storage_that_goes_meanwhile_is_left_alone(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(collection, "FOLDERS_AT_ONCE", 2)
        there = iter([True, False])
        monkeypatch.setattr(collection, "is_there", lambda *_: next(there))

        def scan(_: float) -> Iterator[Path]:
            for number in range(5):
                (tmp_path / str(number)).mkdir()
                yield tmp_path / str(number)

        assert self.collected(monkeypatch, folders(scan, "orphans")) == {"orphans": 2}

    def test_logs_come_last(self) -> None:
        assert collection.KINDS[-1].name == "logs", "they are looked for in every run's folder"
