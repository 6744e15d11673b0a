"""`make deploy-init`: secrets that are fresh and private, and never a second time."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from docker import init, settings_file, version
from tests.unit.deploy.rendered import ROOT, checkout

SECRETS = {
    "BASIN_SECRET", "BASIN_POSTGRES_PASSWORD", "BASIN_VALKEY_PASSWORD", "BASIN_RAY_TOKEN", "BASIN_GRAFANA_PASSWORD",
    "BASIN_METRICS_TOKEN",
}  # fmt: skip


def test_it_writes_what_only_its_owner_may_read_and_says_what_comes_next(tmp_path: Path) -> None:
    said = init.initialise(checkout(tmp_path), {})
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600
    assert "docker compose up -d --wait" in said
    assert "make deploy-token" in said
    assert (tmp_path / "data").is_dir()


@pytest.mark.parametrize(("user", "given_to"), [(0, [init.IMAGE_USER, init.IMAGE_USER]), (1000, [])])
def test_the_data_folder_is_the_containers_or_a_line_says_how(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: int, given_to: list[int]
) -> None:
    owners: list[int] = []
    monkeypatch.setattr(os, "geteuid", lambda: user)
    monkeypatch.setattr(os, "chown", lambda folder, *owner: owners.extend(owner))
    assert "sudo chown 10001:10001 data" in init.initialise(checkout(tmp_path), {}), "a chown that did nothing"
    assert owners == given_to


def test_a_data_folder_that_is_there_keeps_its_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (checkout(tmp_path) / "data").mkdir()
    monkeypatch.setattr(os, "chown", lambda *_: pytest.fail("it may be somebody's"))
    init.initialise(tmp_path, {})


def test_a_data_folder_elsewhere_is_not_made(tmp_path: Path) -> None:
    said = init.initialise(checkout(tmp_path), {"BASIN_DATA": "/mnt/images"})
    assert not (tmp_path / "data").exists()
    assert "chown" not in said


def test_the_images_user_is_the_one_that_data_are_given_to() -> None:
    assert f"--uid {init.IMAGE_USER} " in (ROOT / "docker/Dockerfile").read_text()


def test_secrets_are_long_different_and_fresh() -> None:
    first, second = (init.values({}, root=ROOT, memory_mebibytes=0, host="gpu-1") for _ in range(2))
    for name in SECRETS:
        assert re.fullmatch(r"[0-9a-f]{32,}", first[name]), name
        assert first[name] != second[name]
    assert len({first[name] for name in SECRETS}) == len(SECRETS)


def test_a_second_time_nothing_is_overwritten_and_a_sentence_says_why(tmp_path: Path) -> None:
    checkout(tmp_path)
    command = [sys.executable, "-m", "docker.init"]
    for expected in (0, 1):
        ended = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
        )
        assert ended.returncode == expected, ended.stderr
        text = (tmp_path / ".env").read_text()
        if expected == 0:
            before = text
    assert text == before
    assert ended.stderr.startswith(".env is there already")
    assert "Traceback" not in ended.stderr


def test_it_needs_nothing_that_is_not_pythons_own(tmp_path: Path) -> None:
    # -S: without site-packages.
    ended = subprocess.run(
        [sys.executable, "-S", "-m", "docker.init"], cwd=checkout(tmp_path), capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr


def test_what_the_caller_sets_is_written_down(tmp_path: Path) -> None:
    given = {"COMPOSE_PROFILES": "cpu,tls", "BASIN_TLS_PORT": "8443", "HOME": "/root"}
    init.initialise(checkout(tmp_path), given)
    kept = settings_file.read(tmp_path / ".env")
    assert (kept["COMPOSE_PROFILES"], kept["BASIN_TLS_PORT"]) == ("cpu,tls", "8443")
    assert "HOME" not in kept


def test_gpus_are_the_default() -> None:
    assert init.values({}, root=ROOT, memory_mebibytes=0, host="gpu-1")["COMPOSE_PROFILES"] == "gpu"


@pytest.mark.parametrize(("host", "trainers"), [(64 * 1024, 56 * 1024), (0, 2 * 1024), (9 * 1024, 2 * 1024)])
def test_trainers_get_the_hosts_memory_less_what_the_rest_needs(host: int, trainers: int) -> None:
    made = init.values({}, root=ROOT, memory_mebibytes=host, host="gpu-1")
    assert (made["BASIN_WORKER_MEMORY"], made["BASIN_SHM_SIZE"]) == (f"{trainers}m", f"{trainers // 2}m")


def test_a_changed_setting_stays_where_it_stood(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    settings_file.write_new(file, "# kept\nA=1\nB=two words\n")
    settings_file.change(file, {"A": "9", "C": "3"})
    assert file.read_text() == "# kept\nA=9\nB=two words\nC=3\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert settings_file.read(file) == {"A": "9", "B": "two words", "C": "3"}


def test_the_tag_names_version_and_revision() -> None:
    assert version.tag() == f"{version.version()}-{version.revision()}"
    assert re.fullmatch(r"[0-9a-f]{12}", version.revision())


def test_without_git_the_tag_is_the_version(tmp_path: Path) -> None:
    assert version.tag(checkout(tmp_path)) == version.version()
