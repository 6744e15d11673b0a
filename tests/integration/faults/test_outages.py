"""The API held down under running runs, and the whole stack killed: what lives is left alone, nothing is lost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.integration.faults.outages import ENDING, hold_the_api_down
from tests.integration.faults.specs import digits_run
from tests.integration.faults.watching import Points, Watch, processes_of

LEASES = 10
"""How long the API is away; `python -m tests.integration.faults --api-away 300` plays five minutes."""


def test_the_api_away_for_ten_leases_relaunches_nothing_and_what_ends_meanwhile_loses_nothing(
    stack: Any, undisturbed: Callable[[dict[str, Any]], Points]
) -> None:
    expected = undisturbed(ENDING)
    with Watch(stack.api_url, stack.token) as watch:
        hold_the_api_down(stack, watch, expected, seconds=LEASES * stack.lease_timeout_seconds)


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
