"""The services: that Compose takes the file, and that none is published, privileged or unlimited by a slip."""

from __future__ import annotations

import os
import re
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from api.settings import Settings
from docker import init, ray_node
from tests.unit.deploy.rendered import ROOT, checkout, compose, config
from trainer.contract import folders

FILE = ROOT / "docker-compose.yml"
ONE_SHOT = {"migrate", "admin"}
"""They end by themselves: not restarted, not asked for their health."""
PUBLISHED = {"api", "proxy"}
WITHOUT_WAY_OUT = {"postgres", "valkey", "ray-head", "migrate", "beat", "admin", "prometheus", "grafana"}
INTERNAL = {"data", "ray", "metrics"}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return config(tmp_path_factory.mktemp("deployment"))


@pytest.fixture(scope="module")
def services(project: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = project["services"]
    return found


def test_without_first_settings_the_command_to_make_them_is_named(tmp_path: Path) -> None:
    ended = compose(checkout(tmp_path), "config", "--quiet")
    assert ended.returncode != 0
    assert "make deploy-init" in ended.stderr


def test_compose_warns_of_nothing(tmp_path: Path) -> None:
    root = checkout(tmp_path)
    init.initialise(root, {})
    ended = compose(root, "config", "--quiet")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_every_variable_has_a_default_or_is_written_by_deploy_init() -> None:
    text = re.sub(r"#.*", "", FILE.read_text())
    made = init.values({}, root=ROOT, memory_mebibytes=64_000, host="gpu-1")
    without_default = set(re.findall(r"(?<!\$)\$\{(\w+)(?:\}|:\?)", text))
    assert without_default <= set(made), "neither a default in docker-compose.yml nor written by docker/init.py"
    defaulted = set(re.findall(r"(?<!\$)\$\{(\w+):-", text))
    assert set(made) - {"COMPOSE_PROFILES"} <= without_default | defaulted, "written, but nothing reads it"


def test_every_variable_is_explained() -> None:
    named = set(re.findall(r"(?<!\$)\$\{(\w+)", FILE.read_text()))
    explained = (ROOT / "docs/deployment.md").read_text()
    assert {name for name in named if f"`{name}`" not in explained} == set()


def test_only_the_api_on_loopback_and_the_proxy_are_published(services: dict[str, dict[str, Any]]) -> None:
    assert {name for name, service in services.items() if service.get("ports")} == PUBLISHED
    assert [port["host_ip"] for port in services["api"]["ports"]] == ["127.0.0.1"]
    assert {name for name, service in services.items() if "network_mode" in service} == set()


def test_what_keeps_the_data_has_no_way_outside(project: dict[str, Any]) -> None:
    assert {name for name, network in project["networks"].items() if network.get("internal")} == INTERNAL
    for name in WITHOUT_WAY_OUT:
        assert set(project["services"][name]["networks"]) <= INTERNAL, name


def test_trainers_share_no_network_with_database_and_broker(services: dict[str, dict[str, Any]]) -> None:
    for trainer in ("ray-head", "ray-worker", "ray-worker-cpu"):
        for kept in ("postgres", "valkey"):
            assert not set(services[trainer]["networks"]) & set(services[kept]["networks"])


def test_trainers_hold_no_secret_but_rays(services: dict[str, dict[str, Any]]) -> None:
    secrets = {
        "BASIN_SECRET", "BASIN_DATABASE_URL", "BASIN_BROKER_URL", "BASIN_POSTGRES_PASSWORD", "BASIN_METRICS_TOKEN",
    }  # fmt: skip
    for trainer in ("ray-head", "ray-worker", "ray-worker-cpu"):
        assert not secrets & set(services[trainer]["environment"])


def test_every_service_runs_as_somebody_without_rights(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        assert re.fullmatch(r"[1-9]\d*:\d+", service["user"]), name
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service.get("cap_add", []) == (["NET_BIND_SERVICE"] if name == "proxy" else []), name
        assert not service.get("privileged"), name
        assert service["init"] is True, name


def test_no_service_sees_the_engine(services: dict[str, dict[str, Any]]) -> None:
    assert "docker.sock" not in FILE.read_text()
    binds = [
        volume for service in services.values() for volume in service.get("volumes", []) if volume["type"] == "bind"
    ]
    assert {volume["target"] for volume in binds if not volume.get("read_only")} == {"/data"}


def test_every_service_is_limited_logged_and_restarted(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        limits = service["deploy"]["resources"]["limits"]
        assert limits["pids"] > 0, name
        if not name.startswith("ray-worker"):  # Theirs is the rest of the host.
            assert float(limits["cpus"]) > 0, name
        assert int(limits["memory"]) > 0, name
        assert set(service["logging"]["options"]) == {"max-size", "max-file"}, name
        assert service["restart"] == ("no" if name in ONE_SHOT else "unless-stopped"), name


def test_every_lasting_service_has_a_health_check_and_is_waited_for_by_it(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        assert bool(service["healthcheck"].get("disable")) == (name in ONE_SHOT), name
        for needed, how in service.get("depends_on", {}).items():
            expected = "service_completed_successfully" if needed == "migrate" else "service_healthy"
            assert how["condition"] == expected, f"{name} needs {needed}"


def test_every_path_it_names_exists(project: dict[str, Any]) -> None:
    for name, service in project["services"].items():
        for volume in service.get("volumes", []):
            if volume["type"] == "bind":
                assert Path(volume["source"]).exists(), f"{name}: {volume['source']}"
                assert volume["target"] != "/data" or volume["bind"]["create_host_path"] is False
        if build := service.get("build"):
            assert (Path(build["context"]) / build["dockerfile"]).is_file(), name
    for secret in project["secrets"].values():
        assert Path(secret["file"]).is_file()


def test_storage_and_data_are_at_one_path_everywhere(services: dict[str, dict[str, Any]]) -> None:
    for name in ("api", "celery", "admin", "ray-worker", "ray-worker-cpu"):
        targets = {volume["target"]: volume["source"] for volume in services[name]["volumes"] if "source" in volume}
        assert targets["/srv/basin/storage"] == "storage", name
        assert targets["/data"].endswith("/data"), name
        if name in ("api", "celery", "admin"):
            assert services[name]["environment"]["BASIN_STORAGE"] == "/srv/basin/storage"
            assert services[name]["environment"]["BASIN_DATA_ROOTS"] == "/data"


def test_the_data_is_written_by_uploads_and_downloads_alone(services: dict[str, dict[str, Any]]) -> None:
    may_write = {
        name: not volume.get("read_only")
        for name, service in services.items()
        for volume in service.get("volumes", [])
        if volume["target"] == "/data" and volume["type"] == "bind"  # Valkey and the proxy have volumes of that path.
    }
    assert may_write == {"api": True, "ray-worker": True, "ray-worker-cpu": True, "celery": False, "admin": False}


def test_images_learn_their_revision_when_they_are_built(tmp_path: Path) -> None:
    services = config(tmp_path, {"BASIN_BUILD_REVISION": "0123456789ab"})["services"]
    for name in ("api", "celery", "beat", "migrate", "admin", "ray-worker"):
        assert services[name]["build"]["args"]["BASIN_REVISION"] == "0123456789ab", name
        assert "BASIN_REVISION" not in services[name]["environment"], name


def test_volumes_may_be_folders_of_the_host(tmp_path: Path) -> None:
    made = config(tmp_path, {"BASIN_STORAGE_FROM": "/mnt/shared/basin"})
    volumes = [volume for volume in made["services"]["api"]["volumes"] if volume["target"] == "/srv/basin/storage"]
    assert [(volume["type"], volume["source"]) for volume in volumes] == [("bind", "/mnt/shared/basin")]


def test_gpu_workers_get_all_gpus_and_room_to_share_memory(services: dict[str, dict[str, Any]]) -> None:
    worker, on_cpus = services["ray-worker"], services["ray-worker-cpu"]
    assert (worker["profiles"], on_cpus["profiles"]) == (["gpu"], ["cpu"])
    devices = worker["deploy"]["resources"]["reservations"]["devices"]
    assert devices == [{"capabilities": ["gpu"], "driver": "nvidia", "count": -1}]
    assert "reservations" not in on_cpus["deploy"]["resources"]
    assert int(worker["shm_size"]) >= 1 << 30
    assert worker["ulimits"] == {"memlock": -1, "nofile": 65536, "stack": 67108864}


def test_a_workers_temporary_memory_is_nothing_that_its_doctor_warns_of(services: dict[str, dict[str, Any]]) -> None:
    for name in ("ray-worker", "ray-worker-cpu"):
        [size] = [
            int(match[1]) for each in services[name]["tmpfs"] if (match := re.search(r"^/tmp:.*size=(\d+)g$", each))
        ]
        assert size * folders.GIB >= 2 * folders.LITTLE_TEMPORARY_BYTES, name


def test_workers_have_time_to_save_when_they_are_stopped(services: dict[str, dict[str, Any]]) -> None:
    match = re.fullmatch(r"(?:(\d+)m)?(\d+)s", services["ray-worker"]["stop_grace_period"])
    assert match is not None
    assert int(match[1] or 0) * 60 + int(match[2]) > 2 * ray_node.FAREWELL_SECONDS


def test_the_broker_keeps_its_messages(services: dict[str, dict[str, Any]]) -> None:
    command = services["valkey"]["command"][-1]
    assert "appendonly yes" in command
    assert "maxmemory-policy noeviction" in command
    most = re.search(r"^maxmemory (\d+)mb$", command, re.MULTILINE)
    assert most is not None, "without a bound of its own it fills its container and is killed"
    assert int(most[1]) * 2**20 <= int(services["valkey"]["deploy"]["resources"]["limits"]["memory"]) / 2
    assert "$$VALKEY_PASSWORD" in command, "filled in by the shell inside, so that it stands in no list of processes"


def test_the_control_plane_takes_its_settings(
    services: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in services["api"]["environment"].items():
        monkeypatch.setenv(name, value or "")
    settings = Settings()  # type: ignore[call-arg]  # Refuses default secrets, since this is not loopback.
    assert settings.loopback is False
    assert settings.ray_token is not None
    assert str(settings.storage) == "/srv/basin/storage"


def test_prometheus_sends_the_token_that_the_api_asks_for(services: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    service = services["prometheus"]
    token = service["environment"]["BASIN_METRICS_TOKEN"]
    assert len(token) >= 32
    assert services["api"]["environment"]["BASIN_METRICS_TOKEN"] == token
    jobs = yaml.safe_load((ROOT / "docker/metrics/prometheus.yml").read_text())["scrape_configs"]
    file = next(job["authorization"]["credentials_file"] for job in jobs if job["job_name"] == "basin")
    # As the container does it, with a stand-in that shows its arguments.
    (tmp_path / "prometheus").write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / "prometheus").chmod(0o755)
    entrypoint = [part.replace("$$", "$").replace(file, str(tmp_path / "token")) for part in service["entrypoint"]]
    ended = subprocess.run(
        [*entrypoint, "--one", "--two"],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "BASIN_METRICS_TOKEN": token},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert ended.stdout == "--one --two\n"
    assert (tmp_path / "token").read_text() == token
    assert stat.S_IMODE((tmp_path / "token").stat().st_mode) == 0o600
    assert any(mount.startswith("/tmp:") for mount in service["tmpfs"])


def test_default_secrets_are_refused(monkeypatch: pytest.MonkeyPatch, services: dict[str, dict[str, Any]]) -> None:
    environment = dict(services["api"]["environment"])
    del environment["BASIN_SECRET"]
    for name, value in environment.items():
        monkeypatch.setenv(name, value or "")
    monkeypatch.delenv("BASIN_SECRET", raising=False)
    with pytest.raises(ValueError, match="BASIN_SECRET must be set outside loopback"):
        Settings()  # type: ignore[call-arg]
