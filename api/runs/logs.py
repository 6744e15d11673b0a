"""The last lines of an attempt's logs, read from the storage from behind, a bounded number of bytes."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path

from api.db.tables import Attempt
from api.errors import NotFound
from api.runs.schemas import LogTail
from api.runs.storage import attempt_folder

MAX_BYTES = 256 * 1024
LOG_NAME = re.compile(r"(driver|rank-\d{1,5})\.log")
JSON_LINE = '{"timestamp": "'
"""How trainer.logs begins a line with BASIN_LOG_FORMAT=json."""
RAY = "ray"
"""What Ray itself kept of a job that ended without a claim."""


def log_tail(storage: Path, attempt: Attempt, *, source: str | None, lines: int, after: int | None = None) -> LogTail:
    """The last `lines` lines of one log, or with `after` the first ones behind that many bytes; of `source`, else of
    rank 0, else the driver's, else what Ray kept.

    A line that is being written counts once its end is there, or its attempt is over, so that following tears none.
    Raises NotFound for a source that is not there.
    """
    folder = attempt_folder(storage, attempt.run_id, attempt.number) / "log"
    sources = _sources(folder, attempt)
    if source is not None and source not in sources:
        known = ", ".join(sources) or "none yet"
        raise NotFound(f"attempt {attempt.number} has no log {source!r}: there is {known}")
    for preferred in (source, "rank-0", "driver", RAY, *sources):
        if preferred is not None and preferred in sources:
            part = _part(folder, attempt, preferred, after).whole_lines(at_end=attempt.ended_at is not None)
            shown, left_out = part.first(lines) if after is not None else part.last(lines)
            return LogTail(
                source=preferred, sources=sources, lines=shown.text_lines(), truncated=left_out, end=shown.end
            )
    return LogTail(source=None, sources=[], lines=[], truncated=False, end=0)


@dataclass(frozen=True, kw_only=True)
class _Part:
    """Bytes of a log from `start` on; `more`: it goes on behind them."""

    data: bytes
    start: int
    more: bool

    @property
    def end(self) -> int:
        return self.start + len(self.data)

    def whole_lines(self, *, at_end: bool) -> _Part:
        """Without a torn line at its end, unless nothing more comes, or the line is longer than what was read."""
        last = self.data.rfind(b"\n") + 1
        if (at_end and not self.more) or (not last and self.more):
            return self
        return replace(self, data=self.data[:last])

    def first(self, lines: int) -> tuple[_Part, bool]:
        shown = replace(self, data=b"".join(self.data.splitlines(keepends=True)[:lines]))
        return shown, self.more or shown.end < self.end

    def last(self, lines: int) -> tuple[_Part, bool]:
        data = self.data
        if self.start:  # The first line is torn, perhaps inside a character.
            data = data.partition(b"\n")[2]
        kept = b"".join(data.splitlines(keepends=True)[-lines:])
        return _Part(data=kept, start=self.end - len(kept), more=self.more), self.end > len(kept)

    def text_lines(self) -> list[str]:
        return [text for line in self.data.decode("utf-8", "replace").splitlines() for text in shown(line)]


def shown(line: str) -> list[str]:
    """A line as a person reads it: one that a trainer wrote as a JSON object for collectors, in words; any other as it
    is."""
    if not line.startswith(JSON_LINE):
        return [line]
    try:
        found = json.loads(line)
        text = f"{found['timestamp']} {found['level'].upper()} {found['event']}"
    except (ValueError, KeyError, TypeError, AttributeError):
        return [line]
    return f"{text}\n{found.get('exception', '')}".rstrip("\n").split("\n")


def _sources(folder: Path, attempt: Attempt) -> list[str]:
    try:
        names = [entry.name for entry in os.scandir(folder) if LOG_NAME.fullmatch(entry.name)]
    except (FileNotFoundError, NotADirectoryError):
        names = []
    found = [name.removesuffix(".log") for name in names]
    ordered = sorted(found, key=lambda name: (-1 if name == "driver" else int(name.split("-")[1]), name))
    return ordered + ([RAY] if attempt.log_tail else [])


def _part(folder: Path, attempt: Attempt, source: str, after: int | None) -> _Part:
    """At most MAX_BYTES: those behind `after`, else the last ones."""
    if source == RAY:
        kept = (attempt.log_tail or "").encode("utf-8", "replace")
        start = min(after or 0, len(kept))
        return _Part(data=kept[start : start + MAX_BYTES], start=start, more=start + MAX_BYTES < len(kept))
    try:
        # A trainer writes this folder; a link in it must not lead the API to other files.
        descriptor = os.open(folder / f"{source}.log", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise NotFound(f"the log {source!r} cannot be read: {error.strerror}") from error
    with os.fdopen(descriptor, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        start = max(0, size - MAX_BYTES) if after is None else min(after, size)
        file.seek(start)
        return _Part(data=file.read(MAX_BYTES), start=start, more=start + MAX_BYTES < size)
