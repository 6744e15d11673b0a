"""What `basin admin backup` and `restore` say of the process that does the work."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cli import backup_commands
from cli.failure import ExitCode, Failure

MADE: dict[str, Any] = {
    "event": "made", "folder": "/b/monday", "rows": {"runs": 2}, "files": 3, "linked": 0, "base": None,
    "storage_bytes": 3 << 30, "database_bytes": 1 << 20, "restore_needs_bytes": 3 << 30, "storage_free_bytes": 4 << 30,
}  # fmt: skip


PLAN: dict[str, Any] = {
    "event": "plan", "folder": "/b/monday", "made_at": "x", "basin_version": "1", "rows": {"runs": 2}, "files": 3,
    "bytes": 1, "database": "d", "storage": "s", "runs_there": 0, "files_there": False, "replaces": False,
    "warnings": [],
}  # fmt: skip
STARTED = ["start ray", "start api", "start celery", "start beat"]


class Installation:
    """A local stack that records what its parts are told, and a process that says what `says` holds."""

    def __init__(self) -> None:
        self.says: dict[str, list[dict[str, Any]]] = {}
        self.ends: Callable[[str], None] = lambda act: None
        self.told: list[str] = []

    def messages(self, module: str, arguments: list[str], environment: dict[str, str]) -> Iterator[dict[str, Any]]:
        yield from self.says.get(arguments[0], [])
        self.ends(arguments[0])

    def ask(self, home: Any, verb: str, part: str = "") -> dict[str, Any]:
        if verb == "status":
            return {
                "parts": [{"part": part, "state": "ready"} for part in ("api", "celery", "beat", "ray", "postgres")]
            }
        self.told.append(f"{verb} {part}")
        return {}


@pytest.fixture
def installation(monkeypatch: pytest.MonkeyPatch) -> Installation:
    made = Installation()
    monkeypatch.setattr(backup_commands, "messages", made.messages)
    monkeypatch.setattr(backup_commands, "ask", made.ask)
    monkeypatch.setattr(backup_commands, "control_plane", lambda: ("home", {}))
    return made


@pytest.mark.parametrize(("free", "told"), [(4 << 30, False), (2 << 30, True)])
def test_a_backup_says_if_there_is_no_room_to_restore_it(
    installation: Installation, capsys: pytest.CaptureFixture[str], free: int, told: bool
) -> None:
    installation.says["make"] = [{**MADE, "storage_free_bytes": free}]
    backup_commands.backup("monday")
    assert ("there is no room to restore it here" in capsys.readouterr().out) is told


def test_the_process_is_left_to_end_after_its_answer(installation: Installation) -> None:
    ended: list[str] = []
    installation.says["make"] = [MADE]
    installation.ends = ended.append
    backup_commands.backup("monday")
    assert ended == ["make"]


def test_a_process_that_ends_without_an_answer_was_not_interrupted(installation: Installation) -> None:
    with pytest.raises(Failure, match="ended without an answer; the lines above say why") as caught:
        backup_commands.backup("monday")
    assert caught.value.exit_code is ExitCode.failed


def test_one_that_was_interrupted_says_what_that_means(installation: Installation) -> None:
    def interrupted(act: str) -> None:
        raise Failure("it was interrupted", ExitCode.interrupted)

    installation.ends = interrupted
    with pytest.raises(Failure, match="does not count as one") as caught:
        backup_commands.backup("monday")
    assert caught.value.exit_code is ExitCode.interrupted


class TestHeldParts:
    def restored(self, installation: Installation, exit_code: ExitCode | None) -> list[str]:
        """What the parts are told after they were stopped, where the restore ends so."""
        installation.says = {"plan": [PLAN], "restore": [{**MADE, "event": "restored"}] if not exit_code else []}

        def ends(act: str) -> None:
            if act == "restore" and exit_code is not None:
                raise Failure("it is so.", exit_code)

        installation.ends = ends
        with contextlib.suppress(Failure):
            backup_commands.restore_backup("monday", yes=True)
        assert installation.told[:4] == ["stop beat", "stop celery", "stop api", "stop ray"]
        return installation.told[4:]

    @pytest.mark.parametrize("exit_code", [None, ExitCode.refused])
    def test_they_start_again_where_rows_and_files_belong_together(
        self, installation: Installation, exit_code: ExitCode | None
    ) -> None:
        assert self.restored(installation, exit_code) == STARTED

    @pytest.mark.parametrize("exit_code", [ExitCode.failed, ExitCode.interrupted])
    def test_they_stay_stopped_where_that_is_not_sure(
        self, installation: Installation, exit_code: ExitCode, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert self.restored(installation, exit_code) == []
        assert "basin stack start ray; basin stack start api" in capsys.readouterr().err
