"""The last lines of an attempt's logs, read from the storage from behind, a bounded number of bytes."""

from __future__ import annotations

import os
import re
from pathlib import Path

from api.db.tables import Attempt
from api.errors import NotFound
from api.runs.schemas import LogTail
from api.runs.storage import attempt_folder

MAX_BYTES = 256 * 1024
LOG_NAME = re.compile(r"(driver|rank-\d{1,5})\.log")
RAY = "ray"
"""What Ray itself kept of a job that ended without a claim."""


def log_tail(storage: Path, attempt: Attempt, *, source: str | None, lines: int) -> LogTail:
    """The last `lines` lines of one log; without `source`, of rank 0, else the driver's, else what Ray kept.

    Raises NotFound for a source that is not there.
    """
    folder = attempt_folder(storage, attempt.run_id, attempt.number) / "log"
    sources = _sources(folder, attempt)
    if source is not None and source not in sources:
        known = ", ".join(sources) or "none yet"
        raise NotFound(f"attempt {attempt.number} has no log {source!r}: there is {known}")
    for preferred in (source, "rank-0", "driver", RAY, *sources):
        if preferred is not None and preferred in sources:
            text, cut = _text(folder, attempt, preferred)
            every = text.splitlines()
            return LogTail(source=preferred, sources=sources, lines=every[-lines:], truncated=cut or len(every) > lines)
    return LogTail(source=None, sources=[], lines=[], truncated=False)


def _sources(folder: Path, attempt: Attempt) -> list[str]:
    try:
        names = [entry.name for entry in os.scandir(folder) if LOG_NAME.fullmatch(entry.name)]
    except (FileNotFoundError, NotADirectoryError):
        names = []
    found = [name.removesuffix(".log") for name in names]
    ordered = sorted(found, key=lambda name: (-1 if name == "driver" else int(name.split("-")[1]), name))
    return ordered + ([RAY] if attempt.log_tail else [])


def _text(folder: Path, attempt: Attempt, source: str) -> tuple[str, bool]:
    """The text, and whether it was cut at its beginning."""
    if source == RAY:
        return attempt.log_tail or "", False
    try:
        # A trainer writes this folder; a link in it must not lead the API to other files.
        descriptor = os.open(folder / f"{source}.log", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise NotFound(f"the log {source!r} cannot be read: {error.strerror}") from error
    with os.fdopen(descriptor, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        start = max(0, size - MAX_BYTES)
        file.seek(start)
        data = file.read(MAX_BYTES)
    if start:  # The first line is torn, perhaps inside a character.
        data = data.partition(b"\n")[2]
    return data.decode("utf-8", "replace"), start > 0
