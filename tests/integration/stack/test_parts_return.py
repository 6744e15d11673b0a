"""Single parts die or are held down: the supervisor brings them back, or leaves them down when asked to."""

from __future__ import annotations

import time

import httpx
import psutil
import pytest

from cli.failure import Failure
from cli.stack.home import Home
from tests.integration.running_stack import RunningStack, until


@pytest.mark.parametrize("part", ["valkey", "celery", "beat", "api", "postgres"])
def test_a_killed_part_comes_back_and_serves(part: str, stack: RunningStack) -> None:
    old = stack.kill(part)
    stack.wait_until_back(part, old)
    assert not psutil.pid_exists(old)
    until(lambda: httpx.get(f"{stack.api_url}/readyz", timeout=30).status_code == 200, "all is ready", 300, stack.tail)


def test_a_killed_ray_head_takes_its_jobs_with_it_and_comes_back(stack: RunningStack) -> None:
    address = f"http://127.0.0.1:{stack.config.ports['ray_jobs']}/api/jobs/"
    headers = {"Authorization": f"Bearer {Home(stack.home).ray_token()}"}
    # A driver that Ray starts in a session of its own, which outlives the head's.
    job = {"entrypoint": "exec sleep 600.125", "entrypoint_resources": {"driver": 0.001}}
    httpx.post(address, json=job, headers=headers, timeout=60).raise_for_status()

    def drivers() -> list[psutil.Process]:
        return [process for process in stack.left() if "sleep 600.125" in " ".join(process.cmdline())]

    until(drivers, "the job's driver runs", 300, stack.tail)
    old = stack.kill("ray")
    stack.wait_until_back("ray", old)
    assert not drivers()
    assert httpx.get(address, headers=headers, timeout=30).json() == []


def test_a_part_held_down_stays_down_until_it_is_started(stack: RunningStack) -> None:
    old = stack.pid("api")
    assert stack.basin("stack", "stop", "api").stdout == "api: held\n"
    try:
        assert stack.seen("api") == {
            "part": "api",
            "state": "held",
            "pid": None,
            "restarts": stack.seen("api")["restarts"],
        }
        assert not psutil.pid_exists(old)
        time.sleep(2.0)  # Longer than the first delays of a restart.
        assert stack.seen("api")["state"] == "held"
        with pytest.raises(Failure, match="does not answer"):
            stack.client.me()
        done = stack.basin("run", "list", check=False)
        assert done.returncode == 3
        assert "start the stack with `basin up`" in done.stderr
    finally:
        started = stack.basin_json("stack", "start", "api")
    assert started == stack.seen("api")
    assert stack.seen("api")["state"] == "ready"
    assert stack.client.me()["role"] == "admin"
