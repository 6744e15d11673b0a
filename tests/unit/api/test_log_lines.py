"""How lines are written: whatever is logged in whatever way is one object, and nothing in it is a secret."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from api.runs.logs import shown

PRELUDE = (
    "import logging, sys, warnings, structlog\n"
    "from api.telemetry.logs import configure_logs\n"
    "configure_logs({form!r}, service='basin-test', quiet=['httpx'])\n"
)


def written(program: str, form: str = "json") -> str:
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE.format(form=form) + program], capture_output=True, text=True, check=True
    )
    assert done.stdout == ""
    return done.stderr


def events(program: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in written(program).splitlines()]


def test_our_events_and_those_of_libraries_are_objects_with_what_is_bound() -> None:
    ours, theirs, warned = events(
        "structlog.contextvars.bind_contextvars(run='r1', request_id='q')\n"
        "structlog.get_logger('ours').warning('storage_away', free_bytes=1)\n"
        "logging.getLogger('theirs').info('%s of %d', 'one', 2)\n"
        "logging.getLogger('httpx').info('chatter')\n"
        "warnings.warn('an old name')"
    )
    common = {"service": "basin-test", "run": "r1", "request_id": "q"}
    assert ours.items() >= (common | {"event": "storage_away", "level": "warning", "free_bytes": 1}).items()
    assert theirs.items() >= (common | {"event": "one of 2", "level": "info", "logger": "theirs"}).items()
    assert (warned["logger"], "an old name" in warned["event"]) == ("py.warnings", True)
    assert ours["timestamp"].endswith("Z")


@pytest.mark.parametrize("logger", ["structlog.get_logger()", "logging.getLogger('x')"])
def test_an_error_is_one_line_with_its_traceback(logger: str) -> None:
    [line] = events(f"try:\n    [][1]\nexcept IndexError:\n    {logger}.exception('failed')")
    assert line["level"] == "error"
    assert line["exception"].startswith("Traceback")
    assert "IndexError" in line["exception"]


@pytest.mark.parametrize(
    "said",
    [
        "header Authorization: Bearer SECRETSECRETSECRET",
        "GET /x?token=SECRETSECRET&a=1",
        "http://h/#token=SECRETSECRET",
        "postgresql+psycopg://basin:SECRETSECRET@db/basin",
        f"the token basin_{'SECRET' * 7}1",
    ],
)
@pytest.mark.parametrize("form", ["json", "text"])
def test_what_a_library_quotes_of_a_secret_is_hidden(said: str, form: str) -> None:
    line = written(f"logging.getLogger('x').warning({said!r})", form)
    assert "[hidden]" in line
    assert "SECRET" not in line
    if form == "json":
        json.loads(line)


def test_what_is_no_secret_is_told() -> None:
    """Ports, e-mail addresses, and names that begin as tokens do."""
    said = "http://127.0.0.1:8265/api from ada@lab.org about basin_http_request_duration_seconds_bucket"
    [line] = events(f"logging.getLogger('x').warning({said!r})")
    assert line["event"] == said


def test_text_is_for_a_person() -> None:
    line = written("structlog.get_logger('ours').info('admitted', started=['r1'])", "text")
    assert "admitted" in line
    assert "started=['r1']" in line
    assert "\x1b" not in line, "no colours where nobody sees them"


class TestShown:
    """What somebody who reads a trainer's log through the API sees of it."""

    def test_an_object_of_ours_in_words(self) -> None:
        line = json.dumps(
            {
                "timestamp": "2026-01-01T00:00:00.000Z", "level": "error", "event": "Training failed",
                "exception": "Traceback\n  here\nIndexError: x",
            }
        )  # fmt: skip
        assert shown(line) == ["2026-01-01T00:00:00.000Z ERROR Training failed", "Traceback", "  here", "IndexError: x"]

    @pytest.mark.parametrize(
        "line",
        [
            "2026-01-01T00:00:00.000Z INFO words",
            '{"loss": 1}',
            '{"timestamp": "2026',
            '{"timestamp": "x", "level": 1}',
            "",
        ],
    )
    def test_anything_else_as_it_is(self, line: str) -> None:
        assert shown(line) == [line]
