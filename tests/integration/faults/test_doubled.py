"""Two APIs, two Celery workers and two beats on one database, one broker and one Ray do no harm."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.faults.by_hand import Recipe, end
from tests.integration.faults.specs import digits_run
from tests.integration.faults.verdict import different, held_slots, living_jobs
from tests.integration.faults.watching import Points, Watch
from tests.integration.running_stack import SLOTS, RunningStack, until
from tests.integration.services import free_port
from worker.ray_jobs import RayError

RUNS = 3 * SLOTS
SEEDS = (7, 8)
BOOT_SECONDS = 120
"""Until a part works on a busy machine."""


@dataclass(frozen=True)
class Second:
    """What runs beside the session's stack."""

    api_url: str
    celery_log: Path
    processes: dict[str, subprocess.Popen[bytes]]


@pytest.fixture
def second(stack: RunningStack, tmp_path: Path) -> Iterator[Second]:
    """A second API on another port, Celery worker and beat, run as the stack runs its own. Trainers that the second
    Celery worker launches report to the second API."""
    port = free_port()
    url, run = f"http://127.0.0.1:{port}", Path(stack.home) / "run"
    instead = {
        "api": {str(stack.config.ports["api"]): str(port)},
        "celery": {},
        "beat": {f"--pidfile={run / 'beat.pid'}": f"--pidfile={tmp_path / 'beat.pid'}"},
    }
    with ExitStack() as ending:
        processes = {}
        for part, words in instead.items():
            recipe, log = Recipe.of(stack, part), tmp_path / f"{part}.log"
            processes[part] = recipe.start(log, instead=words, settings={"BASIN_API_URL": url})
            ending.callback(end, processes[part])
        until(lambda: answers(f"{url}/readyz"), "the second API is ready", BOOT_SECONDS, stack.tail)
        celery_log, beat_log = tmp_path / "celery.log", tmp_path / "beat.log"
        until(
            lambda: " ready." in celery_log.read_text(),
            "the second Celery worker works",
            BOOT_SECONDS,
            celery_log.read_text,
        )
        until((tmp_path / "beat.pid").exists, "the second beat works", BOOT_SECONDS, beat_log.read_text)
        yield Second(url, celery_log, processes)


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).status_code == 200
    except httpx.TransportError:
        return False


@dataclass
class Jobs:
    """How many Ray jobs lived at once, looked at until the end of the `with`."""

    stack: RunningStack
    most: int = 0
    looks: int = 0
    _over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Jobs:
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.2):
            try:
                alive = len(living_jobs(self.stack))
            except RayError:
                continue
            self.most, self.looks = max(self.most, alive), self.looks + 1


def test_more_runs_than_slots_through_both_apis_are_each_trained_once(
    stack: RunningStack, undisturbed: Callable[[dict[str, Any]], Points], request: pytest.FixtureRequest
) -> None:
    specs = [digits_run(steps=40, workers=1, seed=SEEDS[number % len(SEEDS)]) for number in range(RUNS)]
    expected = [undisturbed(spec) for spec in specs]
    beside: Second = request.getfixturevalue("second")  # only now: the undisturbed runs are the stack's alone
    with (
        Watch(stack.api_url, stack.token) as watch,
        Watch(beside.api_url, stack.token) as other,
        Jobs(stack) as jobs,
    ):
        # In pairs of a seed, so that each seed goes through both.
        run_ids = [(watch, other)[number // len(SEEDS) % 2].submit(spec) for number, spec in enumerate(specs)]
        for run_id, points in zip(run_ids, expected, strict=True):
            run = watch.until_ended(run_id)
            assert (run["status"], [attempt["reason"] for attempt in run["attempts"]]) == ("succeeded", ["completed"])
            assert different(other.points(run_id), points) == []
            moves = [event["data"]["to"] for event in other.status_events(run_id)]
            assert moves == ["launching", "running", "succeeded"]
        until(lambda: not held_slots(stack), "no slot is held", 120, stack.tail)
        until(lambda: not living_jobs(stack), "no job lives", 120, stack.tail)
    assert 0 < jobs.most <= SLOTS, f"{jobs.most} jobs at once in {jobs.looks} looks"
    ended = {part: process.poll() for part, process in beside.processes.items()}
    assert ended == dict.fromkeys(beside.processes), "the second ones lived to the end"
    log = beside.celery_log.read_text()
    assert any(run_id in log for run_id in run_ids), "the second Celery worker had a part in it"
