"""Ten pauses in one run: it goes on as if there had been none, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tests.integration.faults.specs import digits_run
from tests.integration.faults.watching import Watch, processes_of
from trainer import checkpoint

STEPS = 320
"""Enough for ten pauses, each of which is heard within a second or two, at 20 steps a second."""
PAUSES = 10
BETWEEN = 3
"""Steps from a resume to the next pause, at least; what comes on top makes them fall anywhere in a cycle of k = 5."""


def final_weights(stack: Any, run_id: str) -> dict[str, Tensor]:
    [folder] = Path(stack.home).rglob(f"{run_id}/**/checkpoints/step-{STEPS:08}")
    checkpoint.verify(folder)
    return checkpoint.read(folder).model


def test_ten_pauses_change_no_bit(stack: Any) -> None:
    spec = digits_run(steps=STEPS, checkpoint_every=10_000)
    with Watch(stack.api_url, stack.token) as watch:
        undisturbed = watch.submit(spec)
        assert watch.until_ended(undisturbed)["status"] == "succeeded"
        run_id = watch.submit(spec)
        paused_at: list[int] = []
        for _ in range(PAUSES):
            watch.until_step(run_id, (paused_at[-1] if paused_at else 0) + BETWEEN)
            stack.client.pause(run_id)
            run = watch.until(run_id, lambda run: run["status"] == "paused", within=120)
            assert not processes_of(str(stack.home), "ray::RankActor"), "its slots are given back"
            paused_at.append(run["step"])
            stack.client.resume(run_id)
        run = watch.until_ended(run_id)
        assert (run["status"], run["step"]) == ("succeeded", STEPS), run
        assert [attempt["reason"] for attempt in run["attempts"]] == ["paused"] * PAUSES + ["completed"]
        assert [attempt["resume_step"] for attempt in run["attempts"]] == [0, *paused_at], "each went on where it stood"
        assert [stay["status"] for stay in run["states"]].count("paused") == PAUSES
        points, expected = watch.points(run_id), watch.points(undisturbed)
        assert [step for step, _ in expected["train_loss"]] == list(range(1, STEPS + 1))
        assert set(points) == set(expected)
        for metric in expected:
            assert points[metric] == expected[metric], metric
        weights = final_weights(stack, run_id)
        for name, tensor in final_weights(stack, undisturbed).items():
            assert torch.equal(weights[name], tensor), name
