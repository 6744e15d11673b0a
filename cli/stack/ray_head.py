"""A Ray head on this machine: own ports, own token, own folder, on loopback only.

Ray's job API runs any command it is sent, so it is never open: token authentication is set here, since `ray start`
turns it on only where a token already exists. Never `ray stop`: it ends every Ray on the machine.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

import httpx

from cli.failure import Failure
from cli.stack.ports import LOOPBACK

DRIVERS = 1000
"""Of the resource `driver`: a run's driver takes a little of it and no CPU, so slots are for workers."""
OBJECT_STORE_BYTES = 150_000_000
"""Basin hardly uses Ray's object store; Ray would take 30 % of the memory."""
KEPT_SESSIONS = 3
SHOWN_WORDS = ("ERR", "Error", "Traceback", "WARN", "exited unexpectedly")
"""Lines of `ray start` that a person should see; the rest is advice about clusters."""


def python() -> str:
    """Python of the environment with Ray and torch: BASIN_TRAINER_PYTHON, or ours."""
    return os.environ.get("BASIN_TRAINER_PYTHON") or sys.executable


def check_installed() -> None:
    if not os.environ.get("BASIN_TRAINER_PYTHON") and importlib.util.find_spec("ray") is None:
        raise Failure(
            "Ray is missing from this environment: run `make setup`, or set BASIN_RAY_ADDRESS to one of yours"
        )


def prepare(folder: Path) -> None:
    """Sweeps out old sessions: each start of Ray makes a folder of logs and sockets and never removes it."""
    sessions = sorted((path for path in folder.glob("session_2*") if not path.is_symlink()), reverse=True)
    for session in sessions[KEPT_SESSIONS:]:
        shutil.rmtree(session, ignore_errors=True)


def command(*, folder: Path, slots: int, gcs_port: int, jobs_port: int, agent_port: int) -> list[str]:
    """`ray start --head` in the foreground; a worker takes one of `slots` logical CPUs."""
    return [
        python(), "-m", "ray.scripts.scripts", "start", "--head", "--block", "--no-monitor", "--disable-usage-stats",
        "--log-style=record", "--log-color=false", f"--temp-dir={folder}",
        f"--num-cpus={slots}", f"--resources={json.dumps({'driver': DRIVERS})}",
        f"--object-store-memory={OBJECT_STORE_BYTES}",
        f"--port={gcs_port}", "--include-dashboard=true", f"--dashboard-host={LOOPBACK}",
        f"--dashboard-port={jobs_port}", f"--dashboard-agent-listen-port={agent_port}",
    ]  # fmt: skip


def environment(caller: Mapping[str, str], token_file: Path, *, stop_seconds: float) -> dict[str, str]:
    """Of the head, and so of every driver and worker: no BASIN_ secret, no address of another Ray.

    `stop_seconds`: how long a job that is stopped may go on saving until Ray kills it.
    """
    kept = {name: value for name, value in caller.items() if not name.startswith(("BASIN_", "RAY_"))}
    if python() == sys.executable:
        kept["RAY_START_HOOK"] = "cli.stack.ray_start_hook.without_client_server"
    return kept | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token_file),
        # "This machine only": what Ray does on macOS. Otherwise it turns 127.0.0.1 into the machine's outer address
        # and listens on all interfaces.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_JOB_STOP_WAIT_TIME_S": f"{stop_seconds:g}",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_BACKEND_LOG_LEVEL": "warning",
        # Ray would start a process per CPU ahead, which no job can use: ours have variables of their own. Beside the
        # processes that a run waits for, they took half a second of its start (benchmarks/start_latency).
        "RAY_enable_worker_prestart": "0",
        "RAY_prestart_worker_first_driver": "0",
    }


def url(jobs_port: int) -> str:
    return f"http://{LOOPBACK}:{jobs_port}"


async def check_ready(client: httpx.AsyncClient, address: str, token: str) -> None:
    """Asks for a living node with our token. Raises httpx.HTTPError or ConnectionError while there is none."""
    answer = await client.get(
        f"{address}/api/v0/nodes", params={"limit": "10"}, headers={"Authorization": f"Bearer {token}"}
    )
    answer.raise_for_status()
    found = answer.json()
    nodes = found["data"]["result"]["result"] if found.get("result") else []
    if not any(node["state"] == "ALIVE" for node in nodes):
        raise ConnectionError("no node is alive yet")
