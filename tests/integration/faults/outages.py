"""The API away under two running runs: one trains on, the other ends meanwhile. Played by the tests for half a minute,
and by `python -m tests.integration.faults --api-away 300` for as long as one likes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from cli.stack.home import Home
from tests.integration.faults.specs import digits_run
from tests.integration.faults.verdict import different, held_slots, living_jobs
from tests.integration.faults.watching import Points, Watch
from tests.integration.running_stack import RunningStack, until
from trainer.contract.reports import MetricsReport, Writer
from worker.leftovers import read_reports

ENDING_STEPS = 40
ENDING = digits_run(steps=ENDING_STEPS, workers=1)
"""Ends while the API is away."""
LOG_EVERY = 20
GOING_ON = digits_run(steps=1_000_000, workers=1, checkpoint_every=500, log_every=LOG_EVERY)
"""More steps than any machine takes meanwhile; it is cancelled."""
TAIL_SECONDS = 180.0
"""For the short run's training, and for the half a minute in which its trainer still tries to deliver; at most."""


def hold_the_api_down(stack: RunningStack, watch: Watch, undisturbed: Points, *, seconds: float) -> None:
    """For `seconds`, and until the short run has ended. `undisturbed`: the points of `ENDING` when nothing happens.

    Raises AssertionError where a run was relaunched, or a point was lost, doubled or changed.
    """
    going_on = watch.submit(GOING_ON)
    before = watch.until_step(going_on, 10)
    # Claimed, and still loading its libraries: it will train all its steps without the API.
    ending = watch.until(watch.submit(ENDING), lambda run: run["status"] == "running", within=120)
    stack.stop("api")
    back_at = time.monotonic() + seconds
    try:
        until(lambda: len(living_jobs(stack)) == 1, "the short run has ended", TAIL_SECONDS, stack.tail)
        tail = steps_in_tail(Home(stack.home).storage, ending)
        assert ENDING_STEPS in tail, f"its last step is not among those stored beside it: {tail}"
        time.sleep(max(0.0, back_at - time.monotonic()))
        [job] = living_jobs(stack)
        assert job == f"run-{going_on}-1", "the long run is still its first attempt"
    finally:
        stack.start("api")
    ended = watch.until_ended(ending["id"])
    assert (ended["status"], len(ended["attempts"])) == ("succeeded", 1), ended
    assert different(watch.points(ended["id"]), undisturbed) == []
    goes_on(watch, going_on, before["step"] + 100)
    assert held_slots(stack) == []


def steps_in_tail(storage: Path, run: dict[str, Any]) -> list[int]:
    """Steps of the metrics that rank 0 of the run's first attempt stored at its exit."""
    path = storage / "runs" / run["id"] / "attempts" / "1" / f"unsent-{Writer.rank0}.jsonl"
    reports = read_reports(path, attempt_id=run["attempts"][0]["id"])
    return [report.step for report in reports if isinstance(report, MetricsReport)]


def goes_on(watch: Watch, run_id: str, step: int) -> None:
    """The long run comes to `step` in its first attempt, has every point up to then and, cancelled, up to its end."""
    after = watch.until_step(run_id, step)
    assert len(after["attempts"]) == 1
    last = after["step"]
    watch.until_step(run_id, last + 1)
    assert logged_steps(watch, run_id, up_to=last) == [1, *range(LOG_EVERY, last + 1, LOG_EVERY)]
    watch.cancel(run_id)
    run = watch.until_ended(run_id)
    assert (run["status"], len(run["attempts"])) == ("cancelled", 1)
    last = run["step"]
    assert logged_steps(watch, run_id, up_to=last + 1) == [1, *range(LOG_EVERY, last + 1, LOG_EVERY)]


def logged_steps(watch: Watch, run_id: str, *, up_to: int) -> list[int]:
    return [step for step, _ in watch.points(run_id)["train_loss"] if step <= up_to]
