"""Each process of an attempt keeps its log on the storage, as lines of UTC time, level and text, bounded in size.

With BASIN_LOG_FORMAT=json of the Celery worker a line is a JSON object with the keys that the other parts' logs have,
for collectors that read the files; whoever reads such a log through the API gets the lines for a person all the same.

What bypasses Python's logging comes in too: uncaught errors, the stacks of a fatal signal, and for a rank everything
that native libraries write to stderr. All writers append to one open file, so cutting it in place disturbs none.
"""

from __future__ import annotations

import faulthandler
import json
import logging
import os
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

MAX_BYTES = 20 * 2**20
KEPT_BYTES = 5 * 2**20
"""What is left, of the newest lines, when a log has reached `MAX_BYTES`."""

SERVICE = "basin-trainer"

log = logging.getLogger(__name__)


class UtcLines(logging.Formatter):
    converter = staticmethod(time.gmtime)
    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")


class JsonLines(UtcLines):
    """A line is a JSON object: `timestamp`, `level`, `event`, `logger`, `fields` (run and attempt), `exception`."""

    def __init__(self, fields: Mapping[str, str | int]) -> None:
        super().__init__()
        self._fields = fields

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, str | int] = {
            "timestamp": self.formatTime(record),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            "logger": record.name,
            "service": SERVICE,
            **self._fields,
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line)


def line_form(log_format: str, fields: Mapping[str, str | int]) -> UtcLines:
    """How lines are written; `fields` tell the process apart from others, in JSON only, since its file does so too."""
    return JsonLines(fields) if log_format == "json" else UtcLines()


class BoundedLog(logging.Handler):
    """Appends to `path` and cuts it to its newest lines when it has grown beyond `max_bytes`."""

    def __init__(
        self, path: Path, form: UtcLines | None = None, *, max_bytes: int = MAX_BYTES, kept_bytes: int = KEPT_BYTES
    ) -> None:
        super().__init__()
        path.parent.mkdir(parents=True, exist_ok=True)
        self.file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        self._max_bytes, self._kept_bytes = max_bytes, kept_bytes
        self.setFormatter(form or UtcLines())

    def emit(self, record: logging.LogRecord) -> None:
        try:
            os.write(self.file, (self.format(record) + "\n").encode(errors="replace"))
            self._cut()
        except Exception:  # a log that cannot be written must not end the training
            self.handleError(record)

    def _cut(self) -> None:
        size = os.fstat(self.file).st_size
        if size <= self._max_bytes:
            return
        tail = os.pread(self.file, self._kept_bytes, size - self._kept_bytes)
        os.ftruncate(self.file, 0)
        os.write(self.file, b"(older lines were cut)\n" + tail[tail.find(b"\n") + 1 :])


class LinesToLog:
    """A text stream whose lines become log lines: stands in for sys.stdout and sys.stderr of a rank."""

    encoding = "utf-8"

    def __init__(self, level: int) -> None:
        self._level = level
        self._rest = ""
        self._busy = threading.local()

    def write(self, text: str) -> int:
        if getattr(self._busy, "here", False):  # logging itself failed and says so on stderr: no circle
            return len(text)
        self._busy.here = True
        try:
            *lines, self._rest = (self._rest + text).split("\n")
            for line in lines:
                if line.strip():
                    log.log(self._level, "%s", line)
        finally:
            self._busy.here = False
        return len(text)

    def flush(self) -> None: ...

    def isatty(self) -> bool:
        return False


def log_to_stderr(form: UtcLines) -> None:
    """For the driver from its start; Ray keeps this with the job."""
    handler = logging.StreamHandler()
    handler.setFormatter(form)
    _install(handler)


def log_driver(path: Path, form: UtcLines) -> None:
    handler = BoundedLog(path, form)
    _install(handler)
    faulthandler.enable(file=handler.file)


def log_rank(path: Path, form: UtcLines | None = None) -> None:
    """Takes over stdout and stderr of this process, native code's included."""
    handler = BoundedLog(path, form)
    _install(handler)
    faulthandler.enable(file=handler.file)
    os.dup2(handler.file, 1)
    os.dup2(handler.file, 2)
    sys.stdout, sys.stderr = LinesToLog(logging.INFO), LinesToLog(logging.WARNING)


def last_words(path: Path, most_bytes: int = 16_384) -> str:
    """The line in which a process said why it dies ("Fatal Python error: Segmentation fault"); "" if it did not."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - most_bytes))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    told = [line for line in lines if line.startswith(("Fatal Python error", "terminate called", "  what()"))]
    return told[-1].strip() if told else ""


def _install(handler: logging.Handler) -> None:
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    logging.getLogger("trainer").critical("Uncaught error", exc_info=(kind, error, trace))


def _uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None:
        logging.getLogger("trainer").critical(
            "Uncaught error in %s", args.thread.name if args.thread else "a thread",
            exc_info=(args.exc_type, args.exc_value, args.exc_traceback),
        )  # fmt: skip
