"""Who looks at the storage in a diagnosis, when, and for how long; the rows are a list here."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from api.db.operations_tables import DiagnosisPart
from api.doctor import diagnosis
from api.doctor.checks import MEND_STORAGE
from api.doctor.diagnosis import API, CELERY, SHARED_CHECK, STORAGE, probe_folder
from api.runs.access import Caller
from api.settings import Settings
from trainer.contract.findings import Finding, Found, ok

ID = "0123456789abcdef"


class Rows:
    """A diagnosis of which all parts but the last have answered; knows whether somebody holds the rows."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.held = False
        well = [Finding(part=CELERY, check=SHARED_CHECK, **ok("well").model_dump()).model_dump(mode="json")]
        self.rows = [self._row(API, []), self._row(CELERY, well), self._row(STORAGE, None)]
        monkeypatch.setattr(diagnosis, "_rows", lambda *_: self.rows)
        monkeypatch.setattr(diagnosis, "store", self._store)

    @staticmethod
    def _row(part: str, findings: list[dict[str, Any]] | None) -> DiagnosisPart:
        return DiagnosisPart(diagnosis_id=ID, part=part, began_at=datetime.now(UTC), findings=findings)

    def _store(self, _: object, __: str, part: str, findings: list[Finding]) -> None:
        row = next(row for row in self.rows if row.part == part)
        if row.findings is None:
            row.findings = [finding.model_dump(mode="json") for finding in findings]

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        self.held = True
        now = SimpleNamespace(scalar_one=lambda: datetime.now(UTC))
        yield SimpleNamespace(execute=lambda _: now, flush=lambda: None)
        self.held = False

    def look(self, storage: Path) -> diagnosis.Diagnosis:
        settings = cast(Settings, SimpleNamespace(storage=storage))
        return diagnosis.look(self.transaction, settings, cast(Caller, SimpleNamespace(role="admin")), ID)


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> Rows:
    return Rows(monkeypatch)


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    folder = tmp_path / probe_folder(ID)
    folder.mkdir()
    (folder / "celery-worker").write_text(ID)
    return tmp_path


def test_the_last_look_is_at_the_storage_and_clears_up(rows: Rows, storage: Path) -> None:
    seen = rows.look(storage)
    assert seen.complete
    assert [(each.part, each.check, each.verdict.value) for each in seen.findings][-1] == (API, "files of others", "ok")
    assert list(storage.iterdir()) == []


def test_the_storage_is_looked_at_while_nobody_holds_the_rows(
    rows: Rows, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[bool] = []
    real = diagnosis._holds
    monkeypatch.setattr(diagnosis, "_holds", lambda *given: held.append(rows.held) or real(*given))  # type: ignore[func-returns-value]
    assert rows.look(storage).complete
    assert held == [False]


def test_a_storage_that_hangs_is_a_finding_in_time(rows: Rows, storage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    back = threading.Event()

    def hangs(*_: object) -> Found:
        back.wait()
        return ok("at last")

    monkeypatch.setattr(diagnosis, "STORAGE_SECONDS", 0.05)
    monkeypatch.setattr(diagnosis, "_sees_all", hangs)
    monkeypatch.setattr(diagnosis, "_removed", hangs)
    try:
        seen = rows.look(storage)
    finally:
        back.set()
    assert seen.complete
    assert (seen.findings[-1].verdict, seen.findings[-1].remedy) == ("failed", MEND_STORAGE)
    assert "no answer within" in seen.findings[-1].found


def test_of_two_that_look_at_once_the_first_one_counts(
    rows: Rows, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one may read after the first has cleared up; what it misses then is nobody's fault."""
    real = diagnosis._sees_all

    def comes_second(settings: Settings, parts: list[DiagnosisPart]) -> Found:
        monkeypatch.setattr(diagnosis, "_sees_all", real)
        assert rows.look(storage).complete
        return real(settings, parts)

    monkeypatch.setattr(diagnosis, "_sees_all", comes_second)
    assert rows.look(storage).findings[-1].verdict == "ok"


def test_a_storage_that_hangs_holds_up_no_beginning(rows: Rows, storage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    back = threading.Event()
    monkeypatch.setattr(diagnosis, "STORAGE_SECONDS", 0.05)
    monkeypatch.setattr(diagnosis, "_probe", lambda *_: back.wait() and ok("at last"))
    monkeypatch.setattr(diagnosis, "control_checks", lambda *_: [])
    monkeypatch.setattr(diagnosis, "after_commit_send", lambda *_: None)
    added: list[DiagnosisPart] = []

    @contextmanager
    def transaction() -> Iterator[Any]:
        yield SimpleNamespace(add=added.append, add_all=added.extend, flush=lambda: None)

    admin = cast(Caller, SimpleNamespace(role="admin"))
    try:
        diagnosis.begin(transaction, cast(Any, None), cast(Settings, SimpleNamespace(storage=storage)), admin)
    finally:
        back.set()
    findings = next(row.findings for row in added if row.part == API) or []
    assert [(each["check"], each["verdict"]) for each in findings] == [(SHARED_CHECK, "failed")]
