"""A local Ray of two slots for the whole folder, ended by its process group."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.stack.ports import choose_ports
from tests.integration.trainer.launching import RayHead


@pytest.fixture(scope="session")
def ray_head() -> Iterator[RayHead]:
    folder = Path(tempfile.mkdtemp(prefix="bt-", dir="/tmp"))  # short: Unix sockets have 107 bytes
    token = folder / "token"
    token.write_text(secrets.token_hex(32))
    environment = {
        **os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token), "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_DISABLE_IMPORT_WARNING": "1", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # the last: loopback only
    }  # fmt: skip
    port, *others = choose_ports(str(number) for number in range(5)).values()
    with (folder / "head.log").open("wb") as log:
        head = subprocess.Popen(
            [
                str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--num-cpus=2",
                "--include-dashboard=false", f"--port={port}", "--node-ip-address=127.0.0.1",
                f"--temp-dir={folder / 'r'}", "--min-worker-port=0", "--max-worker-port=0",
                f"--dashboard-agent-listen-port={others[0]}", f"--dashboard-agent-grpc-port={others[1]}",
                f"--metrics-export-port={others[2]}", f"--runtime-env-agent-port={others[3]}",
                "--object-store-memory=100000000",
            ],
            env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    try:
        _wait_until_up(port, head, folder / "head.log")
        address = f"127.0.0.1:{port}"
        yield RayHead(address=address, environment=environment, node_id=_node_id(address, environment))
    finally:
        os.killpg(head.pid, signal.SIGTERM)
        try:
            head.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(head.pid, signal.SIGKILL)
            head.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _node_id(address: str, environment: dict[str, str]) -> str:
    program = f"import ray; ray.init({address!r}, logging_level='error'); print(ray.nodes()[0]['NodeID'])"
    asked = subprocess.run([sys.executable, "-c", program], env=environment, check=True, capture_output=True, text=True)
    return asked.stdout.split()[-1]


def _wait_until_up(port: int, head: subprocess.Popen[bytes], log: Path, timeout_seconds: float = 90) -> None:
    deadline = time.monotonic() + timeout_seconds
    while time.monotonic() < deadline:
        assert head.poll() is None, log.read_text()
        if "Ray runtime started" in log.read_text():
            return
        time.sleep(0.2)
    raise AssertionError(f"Ray was not up on port {port} within {timeout_seconds} s:\n{log.read_text()}")
