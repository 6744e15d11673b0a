"""`python -m api.runs.tokens`: how a deployment's first admin gets in."""

from __future__ import annotations

import pytest

from api.runs import tokens
from api.settings import Settings
from tests.integration.api.stack import Api, bearer


@pytest.fixture(autouse=True)
def _environment(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BASIN_DATABASE_URL", settings.database_url)
    monkeypatch.setenv("BASIN_BROKER_URL", settings.broker_url)
    monkeypatch.setenv("BASIN_STORAGE", str(settings.storage))
    monkeypatch.setenv("BASIN_LOOPBACK", "true")


def test_an_issued_token_is_printed_once_and_lets_its_user_in(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    assert tokens.main(["issue", "--user", "root", "--role", "admin"]) == 0
    token = capsys.readouterr().out.strip()
    answer = api.http.get("/api/v1/me", headers=bearer(token)).json()
    assert (answer["name"], answer["role"]) == ("root", "admin")


def test_each_issue_is_another_token_and_earlier_ones_stay(api: Api, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        assert tokens.main(["issue", "--user", "ada", "--role", "member"]) == 0
    first, second = capsys.readouterr().out.split()
    assert first != second
    for token in (first, second):
        assert api.http.get("/api/v1/me", headers=bearer(token)).status_code == 200


def test_a_role_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        tokens.main(["issue", "--user", "ada", "--role", "king"])
    assert "invalid choice: 'king'" in capsys.readouterr().err
