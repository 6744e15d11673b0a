"""A process's log: UTC lines, bounded, with what bypasses Python's logging."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from api.runs.logs import JSON_LINE
from trainer.logs import BoundedLog, last_words, line_form

LINE = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z "


def in_a_rank(path: Path, program: str) -> subprocess.CompletedProcess[bytes]:
    prelude = (
        "import os, sys, logging, threading, pathlib; from trainer import logs; "
        f"logs.log_rank(pathlib.Path({str(path)!r}));"
    )
    return subprocess.run([sys.executable, "-c", prelude + program], capture_output=True, timeout=60)


def test_lines_carry_utc_time_and_level(tmp_path: Path) -> None:
    path = tmp_path / "log" / "driver.log"
    handler = BoundedLog(path)
    handler.handle(logging.LogRecord("x", logging.WARNING, "", 0, "a %s", ("sentence",), None))
    os.close(handler.file)
    assert re.fullmatch(LINE + "WARNING a sentence\n", path.read_text())


def test_lines_for_collectors_are_objects_that_know_their_run(tmp_path: Path) -> None:
    path = tmp_path / "log" / "driver.log"
    handler = BoundedLog(path, line_form("json", {"run": "r1", "attempt": 2, "process": "driver"}))
    try:
        raise ValueError("wrong")
    except ValueError:
        record = logging.LogRecord("trainer.x", logging.ERROR, "", 0, "a %s", ("sentence",), sys.exc_info())
    handler.handle(record)
    os.close(handler.file)
    [text] = path.read_text().splitlines()
    line = json.loads(text)
    assert text.startswith(JSON_LINE), "whoever reads it through the API sees words"
    assert re.fullmatch(LINE, line["timestamp"] + " ")
    assert (line["level"], line["event"], line["logger"], line["service"]) == (
        "error", "a sentence", "trainer.x", "basin-trainer",
    )  # fmt: skip
    assert (line["run"], line["attempt"], line["process"]) == ("r1", 2, "driver")
    assert line["exception"].endswith("ValueError: wrong")


def test_a_long_log_is_cut_to_its_newest_lines(tmp_path: Path) -> None:
    path = tmp_path / "rank-0.log"
    handler = BoundedLog(path, max_bytes=5000, kept_bytes=1000)
    for i in range(1000):
        handler.handle(logging.LogRecord("x", logging.INFO, "", 0, "line %d", (i,), None))
    os.close(handler.file)
    lines = path.read_text().splitlines()
    assert path.stat().st_size <= 5000
    assert lines[0] == "(older lines were cut)"
    numbers = [int(line.rsplit(" ", 1)[1]) for line in lines[1:]]
    assert numbers == list(range(numbers[0], 1000))


def test_a_rank_logs_prints_native_output_and_uncaught_errors(tmp_path: Path) -> None:
    path = tmp_path / "rank-0.log"
    ended = in_a_rank(path, "print('a print'); os.write(2, b'from native code\\n'); 1 / 0")
    text = path.read_text()
    assert re.search(LINE + "INFO a print\n", text)
    assert "from native code\n" in text
    assert re.search(LINE + "CRITICAL Uncaught error\n(?s:.)*ZeroDivisionError: division by zero\n", text)
    assert ended.returncode == 1
    assert ended.stdout + ended.stderr == b""


def test_an_error_in_a_thread_is_logged(tmp_path: Path) -> None:
    path = tmp_path / "rank-0.log"
    in_a_rank(path, "t = threading.Thread(target=lambda: [][1], name='load'); t.start(); t.join()")
    assert re.search("CRITICAL Uncaught error in load\n(?s:.)*IndexError", path.read_text())


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("os.abort()", "Fatal Python error: Aborted"),
        ("os.kill(os.getpid(), 11)", "Fatal Python error: Segmentation fault"),
    ],
)
def test_the_last_words_of_a_crash_are_found(tmp_path: Path, program: str, said: str) -> None:
    path = tmp_path / "rank-0.log"
    in_a_rank(path, "logging.getLogger().info('working');" + program)
    assert last_words(path) == said


def test_a_process_killed_from_outside_says_nothing(tmp_path: Path) -> None:
    path = tmp_path / "rank-0.log"
    in_a_rank(path, "logging.getLogger().info('working'); os.kill(os.getpid(), 9)")
    assert last_words(path) == ""
    assert last_words(tmp_path / "no.log") == ""
