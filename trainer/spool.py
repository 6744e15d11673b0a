"""The spool: numbered reports in a node-local file until the API has acknowledged them.

Appending is a write to a local file and nothing else, so training never waits for the API, and what a process wrote
survives its death (not the machine's: for that, checkpoints carry what is not acknowledged). Memory holds eight bytes
per report, whatever the length of an outage. Each line also names its attempt and writer, since it may be found later
in another attempt's checkpoint; the API passes over these two fields.
"""

from __future__ import annotations

import os
import threading
import time
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from trainer.contract.reports import MAX_REPORTS_PER_BATCH, Numbered, Writer

KEEP_BYTES = 8 * 2**20
"""When more than this is acknowledged, the older half of that is cut off. What stays lets the sender go back after the
database lost its last commits."""
MAX_BATCH_BYTES = 2**20


class Spool:
    """Reports of one writer, numbered from 1 without gaps; safe to use from several threads."""

    def __init__(self, path: Path, *, attempt_id: str, writer: Writer, keep_bytes: int = KEEP_BYTES) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        sweep(path.parent)
        self._path = path
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
        self._stamp = f'{{"attempt_id":"{attempt_id}","writer":"{writer}",'
        self._keep_bytes = keep_bytes
        self._lock = threading.RLock()
        self._starts = array("q", [0])  # where each kept report starts, and where the next one will
        self._first = 1  # seq of the first report the file still holds
        self._acknowledged = 0

    @property
    def acknowledged(self) -> int:
        """Highest seq the API has stored; 0 before the first."""
        return self._acknowledged

    @property
    def last(self) -> int:
        """Highest seq appended; 0 before the first."""
        with self._lock:
            return self._first + len(self._starts) - 2

    @property
    def outstanding(self) -> int:
        """How many reports are not acknowledged."""
        with self._lock:
            return self.last - self._acknowledged

    def append(self, build: Callable[[int], Numbered]) -> int:
        """Stores the report that `build` makes for the next seq; returns it. Raises OSError if the disk is full."""
        with self._lock:
            seq = self.last + 1
            line = (self._stamp + build(seq).model_dump_json().removeprefix("{") + "\n").encode()
            self._write(line)
            self._starts.append(self._starts[-1] + len(line))
            return seq

    def _write(self, line: bytes) -> None:
        start, written = self._starts[-1], 0
        try:
            while written < len(line):
                written += os.write(self._file, line[written:])
        except OSError:
            os.ftruncate(self._file, start)  # half a line would be read as part of the next one
            raise

    def batch(self) -> list[str]:
        """The next reports to send, ascending from the one after the last acknowledged; empty if there are none."""
        with self._lock:
            begin = self._acknowledged + 1
            end = min(self.last, begin + MAX_REPORTS_PER_BATCH - 1)
            while end > begin and self._start(end + 1) - self._start(begin) > MAX_BATCH_BYTES:
                end = begin + (end - begin) // 2
            return self._lines(begin, end)

    def unacknowledged(self) -> list[str]:
        with self._lock:
            return self._lines(self._acknowledged + 1, self.last)

    def acknowledge(self, seq: int) -> None:
        """The API has stored everything up to `seq`. Never goes back: `rewind` does."""
        with self._lock:
            if self._file < 0:
                return
            self._acknowledged = max(self._acknowledged, min(seq, self.last))
            if self._start(self._acknowledged + 1) > self._keep_bytes:
                self._cut()

    def _cut(self) -> None:
        """Drops the oldest acknowledged reports by way of a new file, so that a crash in between loses nothing."""
        oldest_byte = self._start(self._acknowledged + 1) - self._keep_bytes // 2
        first = self._first + bisect_left(self._starts, oldest_byte)
        start = self._start(first)
        kept = os.pread(self._file, self._starts[-1] - start, start)
        temporary = self._path.with_suffix(".cut")
        file = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
        os.write(file, kept)
        temporary.replace(self._path)
        os.close(self._file)
        self._file, self._starts = file, array("q", (at - start for at in self._starts[first - self._first :]))
        self._first = first

    def rewind(self, seq: int) -> bool:
        """The API has stored less than it acknowledged (its database lost commits): send again from `seq` + 1.

        False if the file no longer holds that report.
        """
        with self._lock:
            if seq + 1 < self._first:
                return False
            self._acknowledged = min(seq, self.last)
            return True

    def store_unacknowledged(self, path: Path) -> int:
        """Writes what is not acknowledged to `path`, durably, whole or not at all; returns the count. No file if 0."""
        lines = self.unacknowledged()
        if lines:
            store_lines(path, lines)
        return len(lines)

    def close(self) -> None:
        """Removes the file; call when everything is acknowledged or stored elsewhere."""
        with self._lock:
            if self._file >= 0:
                os.close(self._file)
                self._file = -1
                self._path.unlink(missing_ok=True)

    def _start(self, seq: int) -> int:
        return self._starts[seq - self._first]

    def _lines(self, begin: int, end: int) -> list[str]:
        if end < begin or self._file < 0:
            return []
        start, stop = self._start(begin), self._start(end + 1)
        return os.pread(self._file, stop - start, start).decode().splitlines()


def sweep(folder: Path, older_than_seconds: float = 7 * 86_400) -> None:
    """Removes spools nobody has written to for a week: their processes were killed with all that looked after them."""
    for path in folder.glob("*.jsonl"):
        with suppress(FileNotFoundError):  # another process of the node sweeps, too
            if time.time() - path.stat().st_mtime > older_than_seconds:
                path.unlink()


def store_lines(path: Path, lines: Iterable[str]) -> None:
    """Writes `path` so that it is there complete or not at all, also after a power failure."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("w", encoding="utf-8") as file:
        file.writelines(line + "\n" for line in lines)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def read_lines(path: Path) -> list[str]:
    """The complete lines of a spool or an unsent file: not a last one torn by a crash. Empty if there is no file."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return []
    return text[: text.rfind("\n") + 1].splitlines()
