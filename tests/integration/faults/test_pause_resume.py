"""Ten pauses in one run: it goes on as if there had been none, bit for bit."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from cli.failure import Failure
from cli.stack.home import Home
from tests.integration.faults import verdict
from tests.integration.faults.specs import digits_run
from tests.integration.faults.watching import TERMINAL, Watch, processes_of
from tests.integration.running_stack import until

FEWEST_STEPS, MOST_STEPS = 320, 20_480
"""A pause is heard half a second after it was asked for, whatever a step takes: at 20 steps a second 320 hold ten of
them. Where the run ends before its tenth pause the machine is quicker, and twice as many steps cost it no more time."""
PAUSES = 10
BETWEEN = 3
"""Steps from a resume to the next pause, at least; what comes on top makes them fall anywhere in a cycle of k = 5."""


def test_ten_pauses_change_no_bit(stack: Any) -> None:
    steps, paused_at = FEWEST_STEPS, None
    with Watch(stack.api_url, stack.token) as watch:
        while paused_at is None:
            assert steps <= MOST_STEPS, f"{PAUSES} pauses did not fit into {MOST_STEPS} steps"
            spec = digits_run(steps=steps, checkpoint_every=100_000)
            run_id = watch.submit(spec)
            paused_at = paused_and_resumed(stack, watch, run_id)
            steps *= 2
        run = watch.until_ended(run_id)
        assert (run["status"], run["step"]) == ("succeeded", spec["steps"]), run
        assert [attempt["reason"] for attempt in run["attempts"]] == ["paused"] * PAUSES + ["completed"]
        assert [attempt["resume_step"] for attempt in run["attempts"]] == [0, *paused_at], "each went on where it stood"
        assert [stay["status"] for stay in run["states"]].count("paused") == PAUSES
        goes_like_an_undisturbed_one(stack, watch, run_id, spec)


def paused_and_resumed(stack: Any, watch: Watch, run_id: str) -> list[int] | None:
    """The steps at which it stood, ten times. None: it ended before."""
    paused_at: list[int] = []
    for _ in range(PAUSES):
        step = (paused_at[-1] if paused_at else 0) + BETWEEN
        run = watch.until(run_id, lambda run, step=step: run["step"] >= step or run["status"] in TERMINAL, within=240)
        with suppress(Failure):  # over a moment ago; otherwise it is not paused in time either
            stack.client.pause(run_id)
        run = watch.until(run_id, lambda run: run["status"] in {"paused", *TERMINAL}, within=120)
        if run["status"] == "succeeded":
            return None
        assert run["status"] == "paused", run
        until(
            lambda: not processes_of(str(stack.home), "ray::RankActor"), "its slots are given back", 120, stack.tail
        )  # Ray ends processes a moment after it was asked to
        paused_at.append(run["step"])
        stack.client.resume(run_id)
    return paused_at


def goes_like_an_undisturbed_one(stack: Any, watch: Watch, run_id: str, spec: dict[str, Any]) -> None:
    """Plays it, and compares every point and every weight."""
    other, steps, storage = watch.submit(spec), spec["steps"], Home(stack.home).storage
    assert watch.until_ended(other)["status"] == "succeeded"
    expected = watch.points(other)
    assert [step for step, _ in expected["train_loss"]] == list(range(1, steps + 1))
    assert verdict.different(watch.points(run_id), expected) == []
    weights = (verdict.final_weights(storage, each, steps) for each in (run_id, other))
    assert verdict.different_weights(*weights) == []
