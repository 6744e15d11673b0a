"""A node of the deployment's Ray cluster, in the foreground: `python ray_node.py head` or `... worker`.

Trainers of this container are told first when it is stopped, so that they save a checkpoint and deliver their last
reports; then Ray ends. Ray leaves folders of logs and sockets behind: those of earlier starts are swept out.

BASIN_RAY_HEAD       where the head is, "ray-head:6379"; workers wait for it
BASIN_WORKER_SLOTS   how many workers may run at once on CPUs. Off (empty): as many as there are CPUs
BASIN_HOST_NAME      the name people read of this machine. Off (empty): its address
BASIN_WORKER_DOCTOR  "off": a worker starts without looking whether this machine can train
RAY_AUTH_TOKEN       Ray's token; Ray's job API runs any command it is sent, so it never starts without
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

GCS_PORT, JOBS_PORT = 6379, 8265
FOLDER = Path("/ray")
"""Short: Unix sockets, which Ray puts below it, have names of at most 107 bytes."""
DRIVERS = 1000
"""Of the resource `driver`, which training nodes offer and the head does not: so no run is on the head."""
OBJECT_STORE_BYTES = 150_000_000
"""Basin hardly uses Ray's object store; Ray would take 30 % of the memory."""
KEPT_SESSIONS = 3
HEAD_SECONDS = 300.0
"""A worker waits so long for the head's address, then lets the engine start it anew."""
FAREWELL_SECONDS = 10.0
"""For drivers to save and say good-bye after SIGTERM; a driver saves within 1.5 s and delivers within 3 s."""
DRIVER = b"trainer.main"
MIN_TOKEN_LENGTH = 32


class Misused(Exception):
    """The environment does not do; the message says what to mend."""


def command(role: str, environment: Mapping[str, str], address: str) -> list[str]:
    """`ray start` for this node, whose own address is `address`. Raises Misused."""
    slots = environment.get("BASIN_WORKER_SLOTS", "")
    if slots and (not slots.isdigit() or int(slots) < 1):
        raise Misused(f"BASIN_WORKER_SLOTS {slots!r} must be a whole number >= 1, or empty for all CPUs")
    shared = [
        sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats",
        "--log-style=record", "--log-color=false", f"--node-ip-address={address}",
        f"--object-store-memory={OBJECT_STORE_BYTES}",
    ]  # fmt: skip
    if role == "head":
        return [
            *shared, "--head", "--no-monitor", "--num-cpus=0", "--num-gpus=0", f"--temp-dir={FOLDER}",
            f"--port={GCS_PORT}", "--include-dashboard=true", f"--dashboard-host={address}",
            f"--dashboard-port={JOBS_PORT}",
        ]  # fmt: skip
    offered = ["--resources=" + json.dumps({"driver": DRIVERS})]
    # Of workers alone: the head beside one is no machine that trains.
    if name := environment.get("BASIN_HOST_NAME", ""):
        offered.append(f"--node-name={name}")
    if slots:
        offered.append(f"--num-cpus={slots}")
    head, port = head_of(environment)
    return [*shared, f"--address={head}:{port}", *offered]


def node_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Of Ray, and so of every driver and worker: nothing of Basin's but what a trainer may know. Raises Misused.

    `BASIN_CANCEL_GRACE_SECONDS` (120) is how long a job that is stopped may go on saving until Ray kills it.
    """
    if len(environment.get("RAY_AUTH_TOKEN", "")) < MIN_TOKEN_LENGTH:
        raise Misused(
            f"RAY_AUTH_TOKEN must hold Ray's token, at least {MIN_TOKEN_LENGTH} characters: set BASIN_RAY_TOKEN in .env"
            " (`make deploy-init` writes one)"
        )
    kept = {name: value for name, value in environment.items() if not name.startswith("BASIN_")}
    if "BASIN_REVISION" in environment:
        kept["BASIN_REVISION"] = environment["BASIN_REVISION"]
    return {
        **kept,
        "RAY_AUTH_MODE": "token",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_JOB_STOP_WAIT_TIME_S": environment.get("BASIN_CANCEL_GRACE_SECONDS") or "120",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "RAY_BACKEND_LOG_LEVEL": "warning",
        # A worker whose head has gone or is another one ends after so long, and the engine starts it anew.
        "RAY_gcs_rpc_server_reconnect_timeout_s": "20",
        # No processes ahead of need: runs bring variables of their own, so none of them could be used.
        "RAY_enable_worker_prestart": "0",
        "RAY_prestart_worker_first_driver": "0",
        # Ray's client server listens on all addresses and nobody here speaks its protocol.
        "RAY_START_HOOK": "cli.stack.ray_start_hook.without_client_server",
    }


def head_of(environment: Mapping[str, str]) -> tuple[str, int]:
    """Host and port of the head. Raises Misused."""
    given = environment.get("BASIN_RAY_HEAD") or f"ray-head:{GCS_PORT}"
    host, _, port = given.rpartition(":")
    if not host or not port.isdigit():
        raise Misused(f"BASIN_RAY_HEAD {given!r} must be HOST:PORT, for example ray-head:{GCS_PORT}")
    return host, int(port)


def address_of(role: str, environment: Mapping[str, str]) -> str:
    """This container's address on the network it shares with the head; Ray would take that of the way outside.

    Raises Misused where the head's name is not known within 300 s.
    """
    if role == "head":
        return socket.gethostbyname(socket.gethostname())
    host, port = head_of(environment)
    deadline = time.monotonic() + HEAD_SECONDS
    while True:
        try:
            # Nothing is sent: connecting a datagram socket only chooses the way.
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                probe.connect((host, port))
                return str(probe.getsockname()[0])
        except OSError as error:
            if time.monotonic() > deadline:
                raise Misused(
                    f"the head {host}:{port} was not found in {HEAD_SECONDS:.0f} s ({error}): is the service ray-head"
                    " up, and BASIN_RAY_HEAD right?"
                ) from None
            time.sleep(1)


def sweep(folder: Path) -> None:
    """Removes all sessions but the latest few."""
    sessions = sorted((path for path in folder.glob("session_2*") if not path.is_symlink()), reverse=True)
    for session in sessions[KEPT_SESSIONS - 1 :]:
        shutil.rmtree(session, ignore_errors=True)


def drivers(processes: Path = Path("/proc")) -> Iterator[int]:
    """Process ids of the runs' drivers in this container: `python -m trainer.main`."""
    for folder in processes.glob("[0-9]*"):
        try:
            arguments = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue  # It has ended meanwhile.
        if arguments[1:3] == [b"-m", DRIVER]:
            yield int(folder.name)


def say_goodbye(processes: Path = Path("/proc")) -> None:
    """Tells the drivers to save and waits until they have ended, 10 s at most."""
    for pid in drivers(processes):
        with suppress(OSError):  # It has ended meanwhile.
            os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + FAREWELL_SECONDS
    while any(True for _ in drivers(processes)) and time.monotonic() < deadline:
        time.sleep(0.1)


def look_first(environment: Mapping[str, str]) -> None:
    """Looks whether this machine can train; each finding is a line of the log, with its remedy. Raises Misused."""
    if environment.get("BASIN_WORKER_DOCTOR") == "off":
        return
    if subprocess.run([sys.executable, "-m", "trainer.host_doctor"], env=dict(environment), check=False).returncode:
        raise Misused(
            "This machine cannot train yet, the lines above say why. It is looked at again when the engine starts this"
            " container anew; BASIN_WORKER_DOCTOR=off in .env leaves the look out"
        )


def run(role: str) -> int:
    """Ray until it ends or is told to; returns its exit status. Raises Misused."""
    environment = node_environment(os.environ)
    arguments = command(role, os.environ, address_of(role, os.environ))
    sweep(FOLDER)
    if role == "worker":
        look_first(os.environ)
    node = subprocess.Popen(arguments, env=environment)

    def stop(*_: object) -> None:
        say_goodbye()
        node.terminate()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    return node.wait()


def main(arguments: list[str]) -> int:
    if arguments not in (["head"], ["worker"]):
        sys.stderr.write("usage: python ray_node.py head|worker\n")
        return 2
    try:
        return run(arguments[0])
    except Misused as error:
        sys.stderr.write(f"{error}\n")
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
