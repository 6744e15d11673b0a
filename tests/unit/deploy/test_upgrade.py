"""`make deploy-upgrade`: in which order, and what is left after a failure of each step.

`docker` is a recorder here, since only the order is looked at; tests/deploy plays an upgrade with an engine.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from docker import init, settings_file, upgrade, way_back
from docker.compose import Compose, Failed
from tests.unit.deploy.rendered import ROOT, checkout, config, tool

CHANGE = way_back.Change(
    old_tag="1.0", old_revision="", new_tag="2.0", new_revision="abc", backup="/srv/basin/backups/before-2.0"
)


KEPT = ("postgres", "valkey", "proxy")
BACK = "2.0: run --rm --no-deps -T migrate python -m api.db.migrate --to 0007"


@dataclass
class Engine:
    """What was asked of it, each line beginning with the tag it was asked for; `fails` says which fail, and
    `interrupts` during which somebody presses Ctrl-C."""

    fails: Callable[[str], bool] = lambda line: False
    interrupts: Callable[[str], bool] = lambda line: False
    migrations: list[str] = field(default_factory=lambda: ["0007", "0007"])
    running: list[str] = field(default_factory=lambda: [*KEPT, "api", "celery", "beat", "ray-head", "ray-worker"])
    known: dict[str, list[str]] = field(default_factory=dict)
    """Services by tag; all that run where it is not said."""
    asked: list[str] = field(default_factory=list)

    def project(self, environment: Mapping[str, str], file: Path | None) -> Compose:
        return Recorder(self, environment["BASIN_TAG"])


class Recorder(Compose):
    def __init__(self, engine: Engine, tag: str) -> None:
        self._engine, self._tag = engine, tag

    def run(self, *arguments: str) -> None:
        line = f"{self._tag}: {' '.join(arguments)}"
        self._engine.asked.append(line)
        if self._engine.interrupts(line):
            raise KeyboardInterrupt
        if self._engine.fails(line):
            raise Failed(f"`{line}` ended with 1")
        if arguments[0] == "stop":
            self._engine.running = [name for name in self._engine.running if name not in arguments]

    def answer(self, *arguments: str) -> str:
        if "ps" in arguments:
            return "\n".join(self._engine.running)
        if "config" in arguments:
            return "\n".join(self._engine.known.get(self._tag, self._engine.running))
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


def test_neither_way_leaves_a_service_that_only_the_other_version_has(root: Path) -> None:
    engine = Engine(fails=lambda line: line.startswith("2.0: up"))
    ended(root, engine)
    ups = [line for line in engine.asked if " up " in line]
    assert [(line.split(":")[0], "--remove-orphans" in line) for line in ups] == [("2.0", True), ("1.0", True)]


def changed(**about: Callable[[str], bool]) -> Engine:
    """The new version migrates and does not come up."""
    fails = about.pop("fails", lambda line: False)
    return Engine(fails=lambda line: line.startswith("2.0: up") or fails(line), migrations=["0007", "0008"], **about)


def test_a_changed_database_is_taken_back_while_nobody_writes_to_it(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = changed()
    assert ended(root, engine) == (1, "1.0")
    assert engine.asked[-3] == "2.0: stop api celery beat ray-head ray-worker"
    assert engine.asked[-2] == BACK
    assert verbs(engine)[-1] == "1.0: up"
    assert "1.0: restore" not in verbs(engine)
    assert "at migration 0007 again, and nothing is lost" in capsys.readouterr().out


def test_only_a_migration_that_cannot_be_taken_back_costs_what_came_after_the_backup(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time", lambda: 0.0)
    engine = changed(fails=lambda line: line == BACK)
    assert ended(root, engine) == (1, "1.0")
    assert verbs(engine)[-2:] == ["1.0: restore", "1.0: up"]
    assert "have written since 1970-01-01 00:00 UTC is lost" in capsys.readouterr().out


def test_services_that_only_one_version_knows_are_stopped_by_it(root: Path) -> None:
    engine = changed()
    engine.running = ["postgres", "api", "of-the-new", "of-the-old"]
    engine.known = {"2.0": ["postgres", "api", "of-the-new"], "1.0": ["postgres", "api", "of-the-old"]}
    ended(root, engine)
    assert [line for line in engine.asked if " stop " in line] == ["2.0: stop api of-the-new", "1.0: stop of-the-old"]


@pytest.mark.parametrize("step", ["2.0: build", "1.0: run"])
def test_ctrl_c_before_the_switch_changes_nothing(root: Path, step: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(root, Engine(interrupts=lambda line: line.startswith(step))) == (1, "1.0")
    assert "Nothing was changed: 1.0 still runs." in capsys.readouterr().out


@pytest.mark.parametrize("step", ["2.0: up", "2.0: exec"])
def test_ctrl_c_after_the_switch_goes_back(root: Path, step: str) -> None:
    engine = Engine(interrupts=lambda line: line.startswith(step))
    assert ended(root, engine) == (1, "1.0")
    assert verbs(engine)[-1] == "1.0: up"


def test_ctrl_c_on_the_way_back_says_what_is_left_to_do(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    engine = changed(interrupts=lambda line: line == BACK)
    assert ended(root, engine) == (2, "1.0")
    said = capsys.readouterr().out
    assert f"docker compose stop {' '.join(way_back.WRITERS)}" in said
    assert "BASIN_TAG=2.0 docker compose run --rm --no-deps -T migrate python -m api.db.migrate --to 0007" in said
    assert f"restore --replace {CHANGE.backup}" in said


def test_a_settings_file_that_cannot_be_written_is_a_sentence(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: Path, values: Mapping[str, str]) -> None:
        raise OSError(28, "No space left on device", str(file))

    monkeypatch.setattr(settings_file, "change", full)
    assert ended(root, Engine()) == (1, "1.0")
    assert f"{root}/.env: No space left on device. Nothing was changed" in capsys.readouterr().out


def test_a_version_that_is_up_but_not_ready_goes_back(root: Path) -> None:
    engine = Engine(fails=lambda line: line.startswith("2.0: exec"))
    assert ended(root, engine) == (1, "1.0")
    assert verbs(engine).count("2.0: exec") == upgrade.READY_TRIES


def test_what_cannot_go_back_by_itself_says_how(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    engine = changed(fails=lambda line: line == BACK or "restore" in line)
    assert ended(root, engine) == (2, "1.0")
    assert f"restore --replace {CHANGE.backup}" in capsys.readouterr().out


def test_a_database_that_is_back_is_not_to_be_restored(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ended(root, changed(fails=lambda line: " up " in line)) == (2, "1.0")
    said = capsys.readouterr().out
    assert "The database is as 1.0 needs it" in said
    assert "admin restore" not in said


def test_the_documentation_stops_whoever_writes_before_a_restore() -> None:
    stop = f"docker compose stop {' '.join(way_back.WRITERS)}"
    assert stop in (ROOT / "docs/deployment.md").read_text()


def test_whoever_can_write_to_the_storage_is_among_those_to_stop(tmp_path: Path) -> None:
    writers = {
        name
        for name, service in config(tmp_path)["services"].items()
        for volume in service.get("volumes", [])
        if volume["target"] == "/srv/basin/storage" and not volume.get("read_only")
    }
    assert writers - {"admin"} <= set(way_back.WRITERS)


def test_compose_stops_services_of_another_profile_when_they_are_named(tmp_path: Path) -> None:
    root = checkout(tmp_path)
    init.initialise(root, {"COMPOSE_PROFILES": "gpu"})

    def said(*services: str) -> str:
        """By Compose, which looks at the names before it looks for an engine."""
        environment = {"PATH": os.environ["PATH"], "HOME": str(root), "DOCKER_HOST": f"unix://{root}/no-engine"}
        command = [tool("docker-compose"), "stop", *services]
        return subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False).stderr

    assert "no such service" in said("nobody")
    assert "connect" in said(*way_back.WRITERS)
    assert "no such service" not in said(*way_back.WRITERS)


def test_an_upgrade_to_what_runs_already_is_refused(root: Path) -> None:
    with pytest.raises(ValueError, match=r"\.env names 1\.0 already: get the new version first"):
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


def test_a_host_without_docker_is_told_what_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for ask in (Compose(tmp_path).run, Compose(tmp_path).answer):
        with pytest.raises(Failed, match=r"`docker` does not start .*: install Docker Engine"):
            ask("ps")
