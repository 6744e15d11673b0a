"""What the process of a backup or a restore says of its end, and with which exit code."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from api.backup import __main__ as command
from api.backup.manifest import BackupRefused, RestoredInPart


@pytest.fixture(autouse=True)
def _installation(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(command, "settings_or_exit", lambda: SimpleNamespace(storage=tmp_path))
    monkeypatch.setattr(signal, "signal", lambda *_: None)


@pytest.mark.parametrize(
    ("error", "code", "event", "told"),
    [
        (BackupRefused("no."), 2, "refused", "no."),
        (RestoredInPart("the files are not."), 1, "failed", "the files are not."),
        (PermissionError(13, "Permission denied", "/x"), 2, "refused", "/x: Permission denied"),
        (KeyError("hosts"), 1, "failed", "an error that Basin did not foresee: KeyError, 'hosts', at "),
    ],
)
def test_every_end_is_one_sentence(
    error: Exception,
    code: int,
    event: str,
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def ends(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(command, "restore", ends)
    assert command.main(["restore", "backups/monday"]) == code
    said = capsys.readouterr()
    message = json.loads(said.out)
    assert message["event"] == event
    assert message["sentence"].startswith(told)
    assert said.err == ""
