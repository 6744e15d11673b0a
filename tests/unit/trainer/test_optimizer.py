"""Learning rates by hand, and which weights are decayed."""

from __future__ import annotations

import pytest
import torch

from trainer.contract.optimizers import AdamW
from trainer.contract.spec import Schedule
from trainer.optimizer import build, learning_rate


def rates(schedule: Schedule, total: int) -> list[float]:
    return [learning_rate(schedule, 2.0, step, total) for step in range(total)]


class TestLearningRate:
    def test_constant(self):
        assert rates(Schedule(name="constant"), 3) == [2.0, 2.0, 2.0]

    def test_linear_reaches_its_fraction_after_the_last_step(self):
        assert rates(Schedule(name="linear", final_lr_fraction=0.5), 4) == pytest.approx([2.0, 1.75, 1.5, 1.25])

    def test_cosine_wastes_no_step_at_zero(self):
        assert rates(Schedule(name="cosine"), 4) == pytest.approx([2.0, 1 + 0.5**0.5, 1.0, 1 - 0.5**0.5])

    def test_warm_up_starts_above_zero_and_ends_at_the_peak(self):
        assert rates(Schedule(name="linear", warmup_steps=4), 6) == pytest.approx([0.5, 1.0, 1.5, 2.0, 2.0, 1.0])

    def test_a_warm_up_longer_than_the_run_is_only_a_warm_up(self):
        assert rates(Schedule(warmup_steps=8), 4) == pytest.approx([0.25, 0.5, 0.75, 1.0])

    def test_one_step_runs_at_the_peak(self):
        assert rates(Schedule(name="cosine"), 1) == [2.0]


def test_tensors_of_one_axis_are_not_decayed():
    weights = [torch.nn.Parameter(torch.ones(shape)) for shape in [(2, 2), (2,), ()]]
    optimizer = build(AdamW(name="adamw", lr=0.5, weight_decay=0.1), weights)
    for weight in weights:
        weight.grad = torch.zeros_like(weight)
    optimizer.step()
    assert [weight.flatten()[0].item() for weight in weights] == pytest.approx([0.95, 1.0, 1.0])
