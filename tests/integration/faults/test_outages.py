"""The API held down under a running run, and the whole stack killed: what lives is left alone, nothing is lost."""

from __future__ import annotations

import time
from typing import Any

from tests.integration.faults.specs import digits_run
from tests.integration.faults.watching import Watch, processes_of

LEASES = 10


def test_the_api_away_for_ten_leases_relaunches_nothing_and_loses_nothing(stack: Any) -> None:
    with Watch(stack.api_url, stack.token) as watch:
        hold_the_api_down(stack, watch)


def hold_the_api_down(stack: Any, watch: Watch) -> None:
    run_id = watch.submit(digits_run(steps=2000, checkpoint_every=500))
    before = watch.until_step(run_id, 10)
    stack.stop("api")
    time.sleep(LEASES * stack.lease_timeout_seconds)
    assert processes_of(str(stack.home), "ray::RankActor"), "the run ended while the API was away: give it more steps"
    stack.start("api")
    after = watch.until_step(run_id, before["step"] + 100, within=240)
    assert len(after["attempts"]) == 1
    last = after["step"]
    watch.until_step(run_id, last + 1)
    steps = [step for step, _ in watch.points(run_id)["train_loss"]]
    assert steps[:last] == list(range(1, last + 1))
    watch.cancel(run_id)
    run = watch.until_ended(run_id)
    assert (run["status"], len(run["attempts"])) == ("cancelled", 1)
    steps = [step for step, _ in watch.points(run_id)["train_loss"]]
    assert steps == list(range(1, run["step"] + 1))


def test_a_killed_stack_started_again_goes_on_with_running_and_queued_runs(fresh_stack: Any) -> None:
    stack = fresh_stack()
    with Watch(stack.api_url, stack.token) as watch:
        kill_the_stack(stack, watch)


def kill_the_stack(stack: Any, watch: Watch) -> None:
    spec = digits_run(steps=120)
    running = watch.submit(spec)
    watch.until_step(running, 45)
    queued = watch.submit(digits_run(steps=30))
    assert watch.run(queued)["status"] == "queued"
    stack.kill_supervisor()
    stack.wait_until_gone()
    stack.up_again()
    first, second = watch.until_ended(running), watch.until_ended(queued)
    assert (first["status"], len(first["attempts"])) == ("succeeded", 2)
    assert (second["status"], len(second["attempts"])) == ("succeeded", 1)
    steps = [step for step, _ in watch.points(running)["train_loss"]]
    assert steps == list(range(1, 121))
    assert not processes_of(str(stack.home), "trainer.main")
