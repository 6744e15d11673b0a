"""An attempt that everybody thinks dead, frozen in the middle of a step, comes back after its successor has started.

The API and its database are real, and so are the driver and its two ranks; Ray runs them, but nobody watches the job,
so only the answers to its reports can end it.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from sqlalchemy import text

from api.runs.credentials import launch_code
from tests.integration.api.conftest import (  # noqa: F401 - fixtures
    admin_engine,
    api,
    database_url,
    engine,
    postgres,
    settings,
    template,
    valkey,
)
from tests.integration.api.stack import Api, metrics
from tests.integration.trainer.launching import RayHead, digits_spec, is_alive
from trainer.contract.reports import LaunchPayload

LONG = {"steps": 100_000, "checkpoint": {"every_steps": 100_000}}


def until(condition: Callable[[], bool], what: str, within: float = 120) -> None:
    give_up_at = time.monotonic() + within
    while not condition():
        assert time.monotonic() < give_up_at, f"not seen within {within} s: {what}"
        time.sleep(0.05)


@pytest.fixture
def driver(api: Api, ray_head: RayHead, tmp_path: Path) -> Iterator[Callable[[str], subprocess.Popen[bytes]]]:  # noqa: F811
    """Starts the program of an attempt as Ray's job agent would."""
    started: list[subprocess.Popen[bytes]] = []

    def start(attempt_id: str) -> subprocess.Popen[bytes]:
        payload = LaunchPayload(
            api_url=api.url, attempt_id=attempt_id, launch_code=launch_code(api.settings.secret, attempt_id),
            storage=str(api.settings.storage), spool=str(tmp_path / "spool"),
        )  # fmt: skip
        with (tmp_path / "driver.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "trainer.main"], stdout=log, stderr=subprocess.STDOUT,
                env={
                    **ray_head.environment, "RAY_ADDRESS": ray_head.address, "BASIN_LAUNCH": payload.model_dump_json(),
                },
            )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.send_signal(signal.SIGCONT)
            process.kill()
        process.wait()


def points(api: Api, run_id: str, attempt: int) -> list[int]:  # noqa: F811
    with api.engine.connect() as connection:
        found = "SELECT DISTINCT step FROM metric_points WHERE run_id = :id AND attempt_number = :n ORDER BY step"
        return list(connection.execute(text(found), {"id": run_id, "n": attempt}).scalars())


def ranks(api: Api, run_id: str) -> list[int]:  # noqa: F811
    """Process ids, as the ranks' logs name them."""
    logs = (api.settings.storage / "runs" / run_id).rglob("rank-*.log")
    return [int(found) for log in logs for found in re.findall(r"is process (\d+)", log.read_text())]


def test_what_a_zombie_says_is_dropped_and_it_ends(
    api: Api,  # noqa: F811
    ray_head: RayHead,
    driver: Callable[[str], subprocess.Popen[bytes]],
) -> None:
    api.settings.storage.mkdir(parents=True, exist_ok=True)
    spec = {key: value for key, value in digits_spec(**LONG).items() if key != "data"}
    spec["resources"] = {"workers": 2}
    run_id = api.new_run(spec=spec)
    first = api.launch(run_id)
    with api.engine.begin() as connection:  # where Ray is to put it
        connection.execute(
            text("UPDATE attempts SET placement = jsonb_build_object(cast(:node AS text), 2)"),
            {"node": ray_head.node_id},
        )
    process = driver(first)
    until(lambda: len(points(api, run_id, 1)) >= 5, "its first steps")
    frozen = [process.pid, *ranks(api, run_id)]
    assert len(frozen) == 3
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    until(lambda: all(psutil.Process(pid).status() == psutil.STATUS_STOPPED for pid in frozen), "all to stand still")
    api.lose(run_id, first)
    second = api.start(run_id)
    assert api.report(second, metrics(1, 1, train_loss=7.0)).status_code == 200
    said, events = points(api, run_id, 1), api.count("events", run_id=run_id)

    for pid in frozen:
        os.kill(pid, signal.SIGCONT)
    assert process.wait(120) == 0
    until(lambda: not any(is_alive(pid) for pid in frozen), "its processes to end", 30)
    assert points(api, run_id, 1) == said, "nothing it said afterwards counts"
    assert api.count("events", run_id=run_id) == events
    assert not list((api.settings.storage / "runs" / run_id).rglob("step-*")), "it saved nothing"
    assert not list((api.settings.storage / "runs" / run_id).rglob("unsent-*")), "and left nothing to be taken in"
    run = api.run(run_id)
    assert (run["status"], run["attempt"], run["latest"]["train_loss"]["value"]) == ("running", 2, 7.0)
    [series] = api.get(f"/runs/{run_id}/metrics", names="train_loss").json()["series"]
    assert (series["steps"], series["values"]) == ([1], [7.0])
