"""`basin up`: all parts are there, on loopback only, behind their secrets. A second one and a taken port: no."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import httpx
import psutil

from cli.stack.home import Home
from tests.integration.running_stack import RunningStack

PARTS = {"valkey", "postgres", "ray", "api", "celery", "beat"}


def test_every_part_is_ready_and_the_printed_link_logs_in(stack: RunningStack) -> None:
    states = {row["part"]: row["state"] for row in stack.basin_json("stack", "status")["parts"]}
    assert states == {**dict.fromkeys(PARTS, "ready"), "migrate": "done", "token": "done"}
    assert f"{stack.api_url}/#token={stack.token}" in stack.output.read_text()
    assert f"image folders to train on go under {stack.home / 'data'}" in stack.output.read_text()
    assert stack.client.me()["role"] == "admin"


def test_nothing_listens_beyond_loopback(stack: RunningStack) -> None:
    open_to = {
        (process.name(), connection.laddr.ip)
        for process in stack.left()
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }
    # Ray's servers listen on the IPv6 form of the same address.
    assert {address for _, address in open_to} <= {"127.0.0.1", "::ffff:127.0.0.1"}, open_to
    assert len(open_to) >= len({"postgres", "valkey-server", "gcs_server", "raylet"})


def test_ray_refuses_who_has_no_token(stack: RunningStack) -> None:
    address = f"http://127.0.0.1:{stack.config.ports['ray_jobs']}/api/jobs/"
    assert httpx.get(address, timeout=30).status_code == 401
    token = Home(stack.home).ray_token()
    assert httpx.get(address, headers={"Authorization": f"Bearer {token}"}, timeout=30).status_code == 200


def test_trainers_inherit_no_secret_of_the_control_plane(stack: RunningStack) -> None:
    environment = psutil.Process(stack.pid("ray")).environ()
    config = stack.config
    secrets = (config.secret, config.postgres_password, config.valkey_password, stack.token)
    assert not [name for name, value in environment.items() if any(secret in value for secret in secrets)]


def test_only_the_owner_reads_the_secrets(stack: RunningStack) -> None:
    home = Home(stack.home)
    files = [home.config_file, home.token_file, home.ray_token_file, home.valkey / "valkey.conf"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert not stat.S_IMODE(home.folder.stat().st_mode) & 0o077


def test_passwords_stand_in_no_command_line(stack: RunningStack) -> None:
    config = stack.config
    lines = [" ".join(process.cmdline()) for process in stack.left()]
    for secret in (config.secret, config.postgres_password, config.valkey_password, stack.token):
        assert not [line for line in lines if secret in line]


def test_a_second_up_on_the_folder_is_refused_in_one_sentence(stack: RunningStack) -> None:
    before = stack.seen("api")
    done = stack.basin("up", check=False)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert f"a stack already runs on {stack.home} (process {stack.supervisor_pid})" in done.stderr
    assert stack.seen("api") == before


def test_a_taken_port_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", "cli", "up", f"--port={port}"],
            env={**os.environ, "BASIN_HOME": str(tmp_path)},
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert f"port {port} of the API is taken by another program" in done.stderr
    config = Home(tmp_path).read_config()
    assert config is not None
    config.short_folder.rmdir()


def test_an_unknown_part_is_refused_with_those_there_are(stack: RunningStack) -> None:
    done = stack.basin("stack", "stop", "database", check=False)
    assert done.returncode == 2
    assert "no part 'database'" in done.stderr
    assert all(part in done.stderr for part in PARTS)
