"""`basin stack ...` talks to the running supervisor over a Unix socket: one JSON line there, one back."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from cli.failure import ExitCode, Failure
from cli.stack.home import Home

ANSWER_SECONDS = 330.0
"""A start waits until the part is ready."""
MAX_LINE = 65_536

Handler = Callable[[str, str | None], Awaitable[dict[str, Any]]]


def socket_path(short_folder: Path) -> Path:
    return short_folder / "control"


async def serve(path: Path, handle: Handler) -> asyncio.Server:
    """Answers `{"do": ..., "part": ...}` with what `handle` returns; a Failure becomes `{"error": sentence}`."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = json.loads(await asyncio.wait_for(reader.readline(), 5))
            reply = await handle(str(request["do"]), request.get("part"))
        except Failure as failure:
            reply = {"error": failure.sentence}
        except (ValueError, KeyError, TypeError, TimeoutError) as error:
            reply = {"error": f"the request was not understood ({type(error).__name__})"}
        try:
            writer.write(json.dumps(reply).encode() + b"\n")
            await writer.drain()
        except OSError:
            pass  # The caller has gone.
        finally:
            writer.close()

    path.unlink(missing_ok=True)
    server = await asyncio.start_unix_server(answer, path, limit=MAX_LINE)
    os.chmod(path, 0o600)
    return server


def ask(home: Home, do: str, part: str | None = None) -> dict[str, Any]:
    """Sends one request to the stack of this folder. Raises Failure if none runs or it says no."""
    config = home.read_config()
    if config is None:
        raise Failure(f"no stack was ever started on {home.folder}: start one with `basin up`, or set BASIN_HOME")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(ANSWER_SECONDS)
        try:
            connection.connect(str(socket_path(config.short_folder)))
            connection.sendall(json.dumps({"do": do, "part": part}).encode() + b"\n")
            line = connection.makefile("rb").readline()
        except OSError:
            raise Failure(f"no stack runs on {home.folder}: start it with `basin up`") from None
    if not line:
        raise Failure(f"the stack on {home.folder} ended while it was asked")
    reply: dict[str, Any] = json.loads(line)
    if "error" in reply:
        raise Failure(str(reply["error"]), ExitCode.refused)
    return reply
