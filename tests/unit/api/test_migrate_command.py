"""`python -m api.db.migrate` as it is called; tests/integration has the migrations themselves."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy.exc import ProgrammingError

from api.db import migrate


@pytest.fixture(autouse=True)
def _no_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrate, "settings_or_exit", lambda: None)
    monkeypatch.setattr(migrate, "make_engine", lambda *_, **__: None)


def test_it_goes_back_only_where_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    monkeypatch.setattr(migrate, "migrate", lambda engine: done.append("up"))
    monkeypatch.setattr(migrate, "migrate_back", lambda engine, revision: done.append(f"back to {revision}"))
    assert (migrate.main([]), migrate.main(["--to", "0007"])) == (0, 0)
    assert done == ["up", "back to 0007"]


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (migrate.Refused("0099 is none of the migrations before it."), 2, "Nothing was migrated: 0099 is none"),
        (ProgrammingError("DROP TABLE x", {}, Exception("no such table")), 1, "The migration failed: "),
    ],
)
def test_what_it_cannot_do_is_a_sentence(
    error: Exception,
    code: int,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def ends(*_: Any) -> None:
        raise error

    monkeypatch.setattr(migrate, "migrate_back", ends)
    assert migrate.main(["--to", "0099"]) == code
    assert capsys.readouterr().err.startswith(told)
