"""`make deploy-upgrade`: in which order, and what is left after a failure of each step.

`docker` is a recorder here, since only the order is looked at; tests/deploy plays an upgrade with an engine.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from docker import settings_file, upgrade
from docker.compose import Compose, Failed

CHANGE = upgrade.Change(
    old_tag="1.0", old_revision="", new_tag="2.0", new_revision="abc", backup="/srv/basin/backups/before-2.0"
)


@dataclass
class Engine:
    """What was asked of it, each line beginning with the tag it was asked for; `fails` says which fail."""

    fails: Callable[[str], bool] = lambda line: False
    migrations: list[str] = field(default_factory=lambda: ["0007", "0007"])
    asked: list[str] = field(default_factory=list)

    def project(self, environment: Mapping[str, str], file: Path | None) -> Compose:
        return Recorder(self, environment["BASIN_TAG"])


class Recorder(Compose):
    def __init__(self, engine: Engine, tag: str) -> None:
        self._engine, self._tag = engine, tag

    def run(self, *arguments: str) -> None:
        line = f"{self._tag}: {' '.join(arguments)}"
        self._engine.asked.append(line)
        if self._engine.fails(line):
            raise Failed(f"`{line}` ended with 1")

    def answer(self, *arguments: str) -> str:
        if arguments[0] == "ps":
            return "postgres\nvalkey\napi\ncelery\nbeat\nray-head\nray-worker\nproxy"
        return self._engine.migrations.pop(0)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    settings_file.write_new(tmp_path / ".env", "BASIN_TAG=1.0\nBASIN_BUILD_REVISION=\n")
    return tmp_path


@pytest.fixture(autouse=True)
def _without_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upgrade, "READY_PAUSE_SECONDS", 0.0)


def ended(root: Path, engine: Engine, *, pull: bool = False) -> tuple[int, str]:
    status = upgrade.Upgrade(root, CHANGE, compose=engine.project, pull=pull).run()
    return status, settings_file.read(root / ".env")["BASIN_TAG"]


def verbs(engine: Engine) -> list[str]:
    """Tag and what was done, without options."""
    short = [line.replace("run --rm -T admin basin admin ", "") for line in engine.asked]
    return [" ".join(line.split()[:2]) for line in short]


def test_images_and_backup_come_before_anything_is_changed(root: Path) -> None:
    engine = Engine()
    assert ended(root, engine) == (0, "2.0")
    assert verbs(engine) == ["2.0: build", "1.0: backup", "2.0: up", "2.0: exec"]


def test_secrets_that_the_new_version_needs_are_added_and_the_others_stay(root: Path) -> None:
    settings_file.change(root / ".env", {"BASIN_SECRET": "kept"})
    ended(root, Engine())
    kept = settings_file.read(root / ".env")
    assert kept["BASIN_SECRET"] == "kept"
    assert len(kept["BASIN_RAY_TOKEN"]) >= 32


def test_images_made_elsewhere_are_pulled(root: Path) -> None:
    engine = Engine()
    assert ended(root, engine, pull=True) == (0, "2.0")
    assert verbs(engine)[0] == "2.0: pull"


@pytest.mark.parametrize("step", ["build", "admin backup"])
def test_without_images_or_backup_nothing_is_changed(root: Path, step: str, capsys: pytest.CaptureFixture[str]) -> None:
    engine = Engine(fails=lambda line: step in line)
    assert ended(root, engine) == (1, "1.0")
    assert not [line for line in engine.asked if " up " in line]
    assert "Nothing was changed: 1.0 still runs." in capsys.readouterr().out


def test_a_version_that_does_not_come_up_goes_back(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    engine = Engine(fails=lambda line: line.startswith("2.0: up"))
    assert ended(root, engine) == (1, "1.0")
    assert verbs(engine)[-1] == "1.0: up"
    assert "still at migration 0007, so it stays" in capsys.readouterr().out
    assert "1.0: restore" not in verbs(engine)


def test_a_changed_database_is_restored_while_nobody_writes_to_it(root: Path) -> None:
    engine = Engine(fails=lambda line: line.startswith("2.0: up"), migrations=["0007", "0008"])
    assert ended(root, engine) == (1, "1.0")
    assert verbs(engine)[-3:] == ["1.0: stop", "1.0: restore", "1.0: up"]
    stopped = next(line for line in engine.asked if " stop " in line).split()[2:]
    assert stopped == ["api", "celery", "beat", "ray-head", "ray-worker"]


def test_a_version_that_is_up_but_not_ready_goes_back(root: Path) -> None:
    engine = Engine(fails=lambda line: line.startswith("2.0: exec"))
    assert ended(root, engine) == (1, "1.0")
    assert verbs(engine).count("2.0: exec") == upgrade.READY_TRIES


def test_what_cannot_go_back_by_itself_says_how(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    engine = Engine(fails=lambda line: " up " in line)
    assert ended(root, engine) == (2, "1.0")
    assert f"restore --replace {CHANGE.backup}" in capsys.readouterr().out


def test_an_upgrade_to_what_runs_already_is_refused(root: Path) -> None:
    with pytest.raises(ValueError, match=r"1\.0 runs already: get the new version first"):
        upgrade.planned(root, now=0.0, wanted_tag="1.0")


def test_an_upgrade_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="make deploy-init"):
        upgrade.planned(tmp_path, now=0.0, wanted_tag="1.0")


def test_the_backup_is_named_by_time_and_version(root: Path) -> None:
    change = upgrade.planned(root, now=0.0, wanted_tag="2.0")
    assert change.backup == "/srv/basin/backups/1970-01-01T000000Z-before-2.0"


def test_env_names_the_new_revision_for_the_next_upgrade(root: Path) -> None:
    settings_file.change(root / ".env", {"BASIN_BUILD_REVISION": "0a1"})
    assert upgrade.planned(root, now=0.0, wanted_tag="2.0").old_revision == "0a1"
    ended(root, Engine())
    assert settings_file.read(root / ".env")["BASIN_BUILD_REVISION"] == CHANGE.new_revision


def test_a_command_that_fails_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "docker"
    program.write_text("#!/bin/sh\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(Failed, match="`docker compose up` ended with 3"):
        Compose(tmp_path).run("up")
