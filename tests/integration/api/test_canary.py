"""Canary tasks with a real Celery worker and beat: one that is up and takes nothing is found out."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from sqlalchemy import text

from api.settings import Settings
from tests.integration.api.stack import Api
from tests.integration.processes import BOOT_SECONDS, CELERY, as_environment, running, until
from tests.integration.services import valkey_server


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[str]:
    """A broker of the test's own: other tests leave messages in the session's."""
    folder = tmp_path / "valkey"
    folder.mkdir()
    with valkey_server(folder) as url:
        yield url


def check(api: Api, name: str) -> tuple[bool, str]:
    checks = api.http.get("/readyz").json()["checks"]
    return next((each["ok"], each["detail"]) for each in checks if each["name"] == name)


def health(settings: Settings, part: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """The container's health check."""
    return subprocess.run(
        [sys.executable, "-m", "worker.health", part],
        env=environment(settings, tmp_path), capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip


def environment(settings: Settings, tmp_path: Path) -> dict[str, str]:
    """Reconcile is rare: what comes in time is the canary."""
    folder = tmp_path / "tmp"
    folder.mkdir(exist_ok=True)
    return as_environment(settings, BASIN_RECONCILE_SECONDS="600", TMPDIR=str(folder))


def forget_signs(api: Api, tmp_path: Path) -> None:
    """As if so much time had passed."""
    for sign in (tmp_path / "tmp").glob("basin-alive-*/*"):
        sign.unlink()
    with api.engine.begin() as connection:
        connection.execute(text("UPDATE canaries SET taken_at = taken_at - interval '2 min'"))


def signal_all(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """The worker and the processes that it forked."""
    for each in [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]:
        os.kill(each.pid, number)


def test_a_worker_that_is_connected_but_takes_nothing_is_found_out(
    api: Api, settings: Settings, tmp_path: Path
) -> None:
    """Stopped with SIGSTOP it keeps its connection to the broker, as one does that hangs."""
    assert health(settings, "worker", tmp_path).returncode == 1, "there is none yet"
    command = [*CELERY, "worker", "-c", "1", "--without-gossip", "--without-mingle"]
    log = tmp_path / "celery.log"
    with running(command, environment(settings, tmp_path), log) as worker:
        until(lambda: check(api, "celery worker")[0], what="a canary is back", within=BOOT_SECONDS, shown=log.read_text)
        with api.engine.connect() as connection:
            took = connection.execute(text("SELECT round_trip_seconds FROM canaries WHERE sender = 'api'")).scalar_one()
        assert took > 0
        assert "basin_canary_round_trip_seconds" in api.http.get("/metrics").text
        assert health(settings, "worker", tmp_path).returncode == 0

        signal_all(worker, signal.SIGSTOP)
        forget_signs(api, tmp_path)
        assert api.http.get("/readyz").status_code == 503
        ok, detail = check(api, "celery worker")
        assert not ok
        assert "though it may be connected" in detail
        assert "cannot be told" in check(api, "beat")[1]
        hanging = health(settings, "worker", tmp_path)
        assert hanging.returncode == 1
        assert "took no canary task" in hanging.stderr
        assert "Traceback" not in hanging.stderr

        signal_all(worker, signal.SIGCONT)
        until(lambda: check(api, "celery worker")[0], what="it takes tasks again", within=90, shown=log.read_text)
        well = health(settings, "worker", tmp_path)
        assert well.returncode == 0, well.stderr


def test_beat_is_known_by_what_it_sends(api: Api, settings: Settings, tmp_path: Path) -> None:
    before = health(settings, "beat", tmp_path)
    assert (before.returncode, "has not sent anything yet" in before.stderr) == (1, True)
    worker = [*CELERY, "worker", "-c", "1", "--without-gossip", "--without-mingle"]
    log = tmp_path / "beat.log"
    with (
        running(worker, environment(settings, tmp_path), tmp_path / "celery.log"),
        running([*CELERY, "beat", "--pidfile="], environment(settings, tmp_path), log) as beat,
    ):
        until(lambda: check(api, "beat")[0], what="beat is known", within=BOOT_SECONDS, shown=log.read_text)
        assert health(settings, "beat", tmp_path).returncode == 0
        signal_all(beat, signal.SIGSTOP)
        forget_signs(api, tmp_path)
        until(lambda: check(api, "celery worker")[0], what="the worker goes on", within=90, shown=log.read_text)
        ok, detail = check(api, "beat")
        assert not ok
        assert "sent no task for" in detail
        assert health(settings, "beat", tmp_path).returncode == 1


def test_a_wrong_word_is_answered_with_the_usage(settings: Settings, tmp_path: Path) -> None:
    done = health(settings, "workers", tmp_path)
    assert (done.returncode, done.stderr) == (1, "usage: python -m worker.health worker|beat\n")
