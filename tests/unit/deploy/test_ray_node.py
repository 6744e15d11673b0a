"""How a node of the deployment's Ray cluster is started."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cli.stack import ray_head
from docker import ray_node
from worker.ray_jobs import DRIVER_RESOURCE

TOKEN = "t" * 64


def test_no_run_is_ever_on_the_head() -> None:
    made = ray_node.command("head", {"BASIN_WORKER_SLOTS": "8"}, "10.0.0.2")
    assert {"--head", "--num-cpus=0", "--num-gpus=0", "--node-ip-address=10.0.0.2"} <= set(made)
    assert not [argument for argument in made if argument.startswith("--resources")]


def test_the_head_does_not_pass_for_the_machine_beside_it() -> None:
    made = ray_node.command("head", {"BASIN_HOST_NAME": "gpu-1"}, "10.0.0.2")
    assert not [argument for argument in made if argument.startswith("--node-name")]


def test_a_worker_offers_drivers_their_resource() -> None:
    made = ray_node.command("worker", {"BASIN_RAY_HEAD": "head.lab:6380", "BASIN_HOST_NAME": "gpu-1"}, "10.0.0.3")
    assert {"--address=head.lab:6380", "--node-name=gpu-1"} <= set(made)
    offered = json.loads(next(argument for argument in made if argument.startswith("--resources=")).partition("=")[2])
    assert set(offered) == set(DRIVER_RESOURCE)
    assert not [argument for argument in made if argument.startswith("--num-cpus")]
    assert "--num-cpus=3" in ray_node.command("worker", {"BASIN_WORKER_SLOTS": "3"}, "10.0.0.3")


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({"BASIN_WORKER_SLOTS": "many"}, "BASIN_WORKER_SLOTS 'many' must be a whole number"),
        ({"BASIN_WORKER_SLOTS": "0"}, "BASIN_WORKER_SLOTS '0' must be a whole number >= 1"),
        ({"BASIN_RAY_HEAD": "head"}, "BASIN_RAY_HEAD 'head' must be HOST:PORT"),
    ],
)
def test_a_wrong_variable_is_named_with_what_is_allowed(environment: dict[str, str], sentence: str) -> None:
    with pytest.raises(ray_node.Misused, match=sentence):
        ray_node.command("worker", environment, "10.0.0.3")


@pytest.mark.parametrize("token", [{}, {"RAY_AUTH_TOKEN": ""}, {"RAY_AUTH_TOKEN": "short"}])
def test_ray_never_starts_without_a_token(token: dict[str, str]) -> None:
    with pytest.raises(ray_node.Misused, match="RAY_AUTH_TOKEN must hold Ray's token"):
        ray_node.node_environment(token)


def test_trainers_are_told_nothing_of_basins_but_the_revision() -> None:
    given = {"RAY_AUTH_TOKEN": TOKEN, "BASIN_SECRET": "s", "BASIN_REVISION": "abc", "PATH": "/bin"}
    made = ray_node.node_environment(given)
    assert {name: value for name, value in made.items() if name.startswith("BASIN_")} == {"BASIN_REVISION": "abc"}
    assert (made["PATH"], made["RAY_AUTH_MODE"]) == ("/bin", "token")


def test_nodes_are_set_up_like_the_local_stacks_head(tmp_path: Path) -> None:
    local = ray_head.environment({}, tmp_path / "token", stop_seconds=120)
    made = ray_node.node_environment({"RAY_AUTH_TOKEN": TOKEN})
    # Its token is in a file, and it keeps to one machine.
    differs = {"RAY_AUTH_TOKEN_PATH", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"}
    assert {name: made.get(name) for name in local if name not in differs} == {
        name: value for name, value in local.items() if name not in differs
    }
    assert (ray_node.DRIVERS, ray_node.OBJECT_STORE_BYTES) == (ray_head.DRIVERS, ray_head.OBJECT_STORE_BYTES)


def test_old_sessions_are_swept_out_and_the_latest_stay(tmp_path: Path) -> None:
    for day in range(1, 6):
        (tmp_path / f"session_2026-01-0{day}").mkdir()
    (tmp_path / "session_latest").symlink_to(tmp_path / "session_2026-01-05")
    ray_node.sweep(tmp_path)
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"session_2026-01-04", "session_2026-01-05", "session_latest"}


def test_drivers_are_told_and_waited_for_before_ray_ends(tmp_path: Path) -> None:
    # Started as a driver is, but nothing else of one: it ends with 7 when it is told to.
    (tmp_path / "trainer").mkdir()
    (tmp_path / "trainer/__init__.py").touch()
    (tmp_path / "trainer/main.py").write_text(
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n"
        "print(flush=True)\n"
        "time.sleep(60)\n"
    )
    other = subprocess.Popen(["sleep", "60"])
    driver = subprocess.Popen([sys.executable, "-m", "trainer.main"], cwd=tmp_path, stdout=subprocess.PIPE)
    try:
        assert driver.stdout is not None
        driver.stdout.readline()
        # A container's processes are its own; here only these two may be touched.
        processes = tmp_path / "proc"
        processes.mkdir()
        for pid in (driver.pid, other.pid):
            (processes / str(pid)).symlink_to(f"/proc/{pid}")
        assert list(ray_node.drivers(processes)) == [driver.pid]
        ray_node.say_goodbye(processes)
        assert driver.wait(timeout=30) == 7
        assert other.poll() is None
    finally:
        if driver.stdout is not None:
            driver.stdout.close()
        for process in (driver, other):
            process.kill()
            process.wait()


def test_a_machine_that_cannot_train_gets_no_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    with pytest.raises(ray_node.Misused, match="cannot train yet, the lines above say why"):
        ray_node.look_first({})
    ray_node.look_first({"BASIN_WORKER_DOCTOR": "off"})
