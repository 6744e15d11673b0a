"""Quotas as an admin gives and reads them."""

from __future__ import annotations

from typing import Any

import pytest
from typer.testing import CliRunner

from cli.failure import Failure
from cli.main import app
from cli.views import UserView


class Recorder:
    """Stands for the client."""

    def __init__(self) -> None:
        self.changes: list[tuple[str, dict[str, Any]]] = []

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def set_quotas(self, name: str, changes: dict[str, Any]) -> UserView:
        self.changes.append((name, changes))
        return UserView(name=name, role="member", max_workers=changes.get("max_workers"), gpu_hours_this_month=2.5)


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()
    monkeypatch.setattr("cli.admin_commands.connect", lambda url, token: recorder)
    return recorder


def test_what_is_given_is_changed_and_default_brings_back_the_installations(client: Recorder) -> None:
    given = ["admin", "quota", "max", "--max-workers", "16", "--gpu-hours-per-month", "default", "--weight", "2"]
    outcome = CliRunner().invoke(app, given)
    assert outcome.exit_code == 0, outcome.output
    assert client.changes == [("max", {"max_workers": 16, "gpu_hours_per_month": None, "weight": 2.0})]
    assert "16 at once" in outcome.output


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ([], "nothing to change"),
        (["--max-workers", "many"], "--max-workers 'many' must be a number or \"default\""),
        (["--gpu-hours-per-month", "inf"], "--gpu-hours-per-month 'inf' must be a number"),
        (["--weight", "nan"], "--weight 'nan' must be a number"),
    ],
)
def test_what_cannot_be_is_said_before_anybody_is_asked(client: Recorder, options: list[str], told: str) -> None:
    outcome = CliRunner().invoke(app, ["admin", "quota", "max", *options])
    assert isinstance(outcome.exception, Failure)
    assert told in outcome.exception.sentence
    assert client.changes == []
