"""`basin run logs`: the last lines, and following to the run's end while the API goes away and comes back."""

from __future__ import annotations

import json
import subprocess
import sys
import threading

from tests.integration.running_stack import RunningStack, until
from tests.integration.stack.test_run_changes import submit, waiting


def test_the_log_of_a_run_that_is_over(stack: RunningStack) -> None:
    run_id = submit(stack)["id"]
    stack.basin("run", "watch", run_id)
    tail = stack.basin_json("run", "logs", run_id, "--source", "driver", "--lines", "3")
    assert tail["source"] == "driver"
    assert {"driver", "rank-0"} <= set(tail["sources"])
    text = stack.basin("run", "logs", run_id, "--source", "driver").stdout
    assert tail["lines"] == text.splitlines()[-3:]
    followed = stack.basin("run", "logs", run_id, "-f", "--source", "driver").stdout
    assert followed == text
    unknown = stack.basin("run", "logs", run_id, "--source", "rank-9", check=False)
    assert (unknown.returncode, "rank-9" in unknown.stderr) == (2, True)


def test_a_queued_run_has_no_log_and_says_why(stack: RunningStack) -> None:
    # Wants more than is free as long as the other lives, whichever of the two is ahead.
    blocker, run_id = (waiting(stack)["id"] for _ in range(2))
    done = stack.basin("run", "logs", run_id, check=False)
    assert done.returncode == 2
    assert "is queued and has no log yet" in done.stderr
    stack.basin("run", "cancel", run_id, blocker)


def test_following_survives_a_lost_api_and_gives_every_line_once(stack: RunningStack) -> None:
    run_id = submit(stack, "--set", "steps=100000000", "--set", "logging.every_steps=50")["id"]
    process = subprocess.Popen(
        [sys.executable, "-m", "cli", "run", "logs", run_id, "-f", "--json", "--source", "driver"],
        env=stack.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    pieces: list[str] = []
    reading = threading.Thread(target=lambda: pieces.extend(iter(process.stdout.readline, "")), daemon=True)
    reading.start()
    try:
        until(lambda: pieces, "the first lines are there", 300, stack.tail)
        pid = stack.pid("api")
        stack.stop("api")
        stack.start("api")
        assert stack.pid("api") != pid
        stack.client.cancel(run_id)
        assert process.wait(90) == 0
    finally:
        process.kill()
        process.wait()
    reading.join(10)
    lines = [line for piece in pieces for line in json.loads(piece)["lines"]]
    assert lines == stack.basin_json("run", "logs", run_id, "--source", "driver", "--lines", "5000")["lines"]
    assert stack.client.run(run_id).status == "cancelled"
    process.stdout.close()
    assert process.stderr is not None
    process.stderr.close()
