"""Preemption played through: a run is paused for a more urgent one, goes on after it, and no bit of it is different."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.stack.home import Home
from tests.integration.faults import verdict
from tests.integration.faults.by_hand import Recipe, end
from tests.integration.faults.specs import digits_run
from tests.integration.faults.watching import Watch
from tests.integration.running_stack import RunningStack, until

STEPS = 300
LOW = digits_run(steps=STEPS, checkpoint_every=100_000)
"""Ten seconds and more; another length than in other tests, so that no run like it tells how soon it will end."""
HIGH = digits_run(steps=10, seed=8)
SAVE_SECONDS = 8
"""Who ends sooner than a pause may take is waited for and not paused."""


@pytest.fixture
def preempting(stack: RunningStack, tmp_path: Path) -> Iterator[RunningStack]:
    """The session's stack, with a Celery worker whose policy allows preemption in place of its own."""
    recipe = Recipe.of(stack, "celery")
    stack.stop("celery")
    settings = {"BASIN_PREEMPTION": "true", "BASIN_CANCEL_GRACE_SECONDS": str(SAVE_SECONDS)}
    process = recipe.start(tmp_path / "celery.log", settings=settings)
    try:
        yield stack
    finally:
        end(process)
        stack.start("celery")


def test_a_run_makes_way_for_a_more_urgent_one_and_ends_with_the_same_weights(preempting: RunningStack) -> None:
    stack = preempting
    with Watch(stack.api_url, stack.token) as watch:
        low = watch.submit(LOW)
        watch.until_step(low, 1)
        high = watch.submit(HIGH, priority=5)
        first = watch.until_ended(high)
        assert (first["status"], len(first["attempts"])) == ("succeeded", 1), first
        run = watch.until_ended(low)
        assert (run["status"], run["step"]) == ("succeeded", STEPS), run
        assert [attempt["reason"] for attempt in run["attempts"]] == ["paused", "completed"]
        stood_at = run["attempts"][0]["step"]
        assert 1 <= stood_at < STEPS
        assert [attempt["resume_step"] for attempt in run["attempts"]] == [0, stood_at], "it went on where it stood"
        moves = watch.status_events(low)
        assert [move["data"]["to"] for move in moves] == [
            "launching", "running", "pausing", "queued", "launching", "running", "succeeded",
        ]  # fmt: skip
        assert [move["data"]["preempted"] for move in moves if move["data"]["to"] == "pausing"] == [True]
        assert run["ended_at"] > first["ended_at"]
        other = watch.submit(LOW)
        assert watch.until_ended(other)["status"] == "succeeded"
        assert verdict.different(watch.points(low), watch.points(other)) == []
        storage = Home(stack.home).storage
        weights = (verdict.final_weights(storage, run_id, STEPS) for run_id in (low, other))
        assert verdict.different_weights(*weights) == []
        until(lambda: not verdict.held_slots(stack), "no slot is held", 120, stack.tail)
