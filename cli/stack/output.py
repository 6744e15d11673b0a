"""The parts' output: every line to the part's log file, and with a coloured prefix to the terminal."""

from __future__ import annotations

import asyncio
import io
import os
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import IO

COLOURS = {
    "basin": "1", "valkey": "31", "postgres": "34", "migrate": "36", "token": "36", "ray": "35", "api": "32",
    "celery": "33", "beat": "93",
}  # fmt: skip
PREFIX_WIDTH = 8
CHUNK = 65_536
MAX_LINE = 8_192
"""Characters; longer lines are broken."""
MAX_LOG_BYTES = 10_000_000
"""A log file that has grown beyond it is moved to `<part>.log.1` at the part's next start."""
REMEMBERED_LINES = 30


class PartOutput:
    """Where one part's lines go."""

    def __init__(self, name: str, folder: Path, shown: Callable[[str], bool]) -> None:
        self.name = name
        self.path = folder / f"{name}.log"
        self.last: deque[str] = deque(maxlen=REMEMBERED_LINES)
        self._shown = shown

    async def follow(self, pipe: int) -> None:
        """Copies what comes out of the pipe until it ends. Reads in chunks: a line may be longer than any buffer."""
        stream = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(stream), io.FileIO(pipe)
        )
        try:
            await self._copy(stream)
        finally:
            transport.close()

    async def _copy(self, stream: asyncio.StreamReader) -> None:
        if self.path.exists() and self.path.stat().st_size > MAX_LOG_BYTES:
            self.path.replace(self.path.with_name(f"{self.path.name}.1"))
        with self.path.open("a", encoding="utf-8", buffering=1) as file:
            rest = ""
            while chunk := await stream.read(CHUNK):
                *lines, rest = (rest + chunk.decode("utf-8", errors="replace")).split("\n")
                while len(rest) > MAX_LINE:
                    lines.append(rest[:MAX_LINE])
                    rest = rest[MAX_LINE:]
                for line in lines:
                    self._take(line.rstrip("\r"), file)
            if rest:
                self._take(rest, file)

    def _take(self, line: str, file: IO[str]) -> None:
        file.write(line + "\n")
        if line.strip():
            self.last.append(line)
            if self._shown(line):
                say(line, self.name)


_terminal: IO[str] | None = None
"""Where `say` writes; None: standard output."""


def speak_on_standard_error() -> None:
    """Leaves standard output to a document for programs."""
    global _terminal
    _terminal = sys.stderr


def say(line: str, name: str = "basin") -> None:
    """One line on the terminal. A terminal that is gone stops nobody."""
    global _terminal
    terminal = _terminal or sys.stdout
    prefix = f"{name:<{PREFIX_WIDTH}} |"
    try:
        if terminal.isatty() and not os.environ.get("NO_COLOR"):
            prefix = f"\x1b[{COLOURS.get(name, '0')}m{prefix}\x1b[0m"
        terminal.write(f"{prefix} {line}\n")
        terminal.flush()
    except (OSError, ValueError):
        _terminal = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
