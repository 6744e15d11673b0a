"""Signs of life by the machine's monotonic clock, for the health checks of the containers."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from worker import alive
from worker.alive import BEAT, WORKER, note_alive, seconds_since_sign, sign_path
from worker.health import beat_health, main, worker_health


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(alive, "_noted_at", {})


def aged(part: str, seconds: float) -> None:
    path = sign_path(part)
    path.write_text(f"{float(path.read_text()) - seconds!r}\n")


def test_a_sign_is_of_its_part_and_its_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    assert seconds_since_sign(WORKER) is None
    note_alive(WORKER)
    age = seconds_since_sign(WORKER)
    assert age is not None
    assert age >= 0
    assert seconds_since_sign(BEAT) is None
    monkeypatch.setenv("BASIN_BROKER_URL", "redis://elsewhere:6379/0")
    assert seconds_since_sign(WORKER) is None
    assert [path.suffix for path in sign_path(WORKER).parent.iterdir()] == [""], "no draft is left"
    assert sign_path(WORKER).parent.stat().st_mode & 0o777 == 0o700


def test_a_burst_is_noted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    note_alive(WORKER)
    sign_path(WORKER).unlink()
    note_alive(WORKER)
    assert seconds_since_sign(WORKER) is None
    monkeypatch.setattr(alive, "LEAST_BETWEEN_SECONDS", 0.0)
    note_alive(WORKER)
    assert seconds_since_sign(WORKER) is not None


@pytest.mark.parametrize("content", ["", "yesterday", "99999999999"])
def test_one_that_is_torn_or_of_before_a_restart_of_the_machine_is_none(content: str) -> None:
    note_alive(WORKER)
    sign_path(WORKER).write_text(content)
    assert seconds_since_sign(WORKER) is None


def test_where_nothing_can_be_written_nothing_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/proc/none")
    note_alive(WORKER)
    assert seconds_since_sign(WORKER) is None


def test_a_worker_with_a_new_sign_is_healthy_without_a_question() -> None:
    note_alive(WORKER)
    assert worker_health() == (True, "the worker finished a task 0 s ago")


def test_beat_is_healthy_while_its_sign_is_new(capsys: pytest.CaptureFixture[str]) -> None:
    assert beat_health()[0] is False
    note_alive(BEAT)
    assert main(["beat"]) == 0
    aged(BEAT, 31)
    assert main(["beat"]) == 1
    assert "beat sent nothing for 31 s" in capsys.readouterr().err
