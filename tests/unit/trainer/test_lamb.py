"""LAMB: timm's, fed d by hand; a step that is not finite leaves weights and moments; resume bit for bit."""

from __future__ import annotations

import pytest
import torch
from timm.optim import Lamb

from trainer.contract.methods import LookSAM
from trainer.contract.optimizers import LAMB
from trainer.optimizer import GuardedOptimizer, build


def small_weights(dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(4, 3), (3,), (3, 2), (2,)]
    return [torch.randn(shape, generator=generator).to(dtype).requires_grad_() for shape in shapes]


def moments(optimizer: GuardedOptimizer) -> list[torch.Tensor]:
    return [value for state in optimizer.base.state.values() for value in state.values()]


@pytest.mark.parametrize("max_grad_norm", [None, 0.5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_is_timms_fed_the_direction_by_hand(dtype, max_grad_norm):
    ours, theirs = small_weights(dtype), small_weights(dtype)
    spec = LAMB(name="lamb", lr=0.02, weight_decay=0.1, max_grad_norm=max_grad_norm)
    guarded = GuardedOptimizer(spec, ours)
    groups = [
        {"params": [theirs[0], theirs[2]], "weight_decay": 0.1}, {"params": [theirs[1], theirs[3]], "weight_decay": 0},
    ]  # fmt: skip
    plain = Lamb(groups, lr=0.02, max_grad_norm=max_grad_norm)
    generator = torch.Generator().manual_seed(1)
    for _ in range(10):
        for a, b in zip(ours, theirs, strict=True):
            a.grad = torch.randn(a.shape, generator=generator).to(dtype)
            b.grad = a.grad.clone()
        guarded.step(torch.tensor(True))
        plain.step()
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_an_update_has_lr_times_the_norm_of_a_matrix_also_without_decay():
    weights = small_weights(torch.float64)
    before = [weight.detach().clone() for weight in weights]
    optimizer = build(LAMB(name="lamb", lr=0.02, weight_decay=0.0), weights)
    for weight in weights:
        weight.grad = torch.ones_like(weight)
    optimizer.step()
    for weight, start in zip(weights, before, strict=True):
        # Of a vector the step is lr in each element (Adam's first step along ones), up to eps = 1e-6 against 1.
        expected = 0.02 * start.norm() if weight.ndim > 1 else 0.02 * len(weight) ** 0.5
        assert (weight - start).norm().item() == pytest.approx(
            expected.item() if weight.ndim > 1 else expected, rel=2e-6
        )


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("where", ["loss of pass 1", "gradient of pass 1", "loss of pass 2", "gradient of pass 2"])
@pytest.mark.parametrize("good_steps", [0, 2])
def test_weights_and_moments_stay_from_the_first_bad_step_on(random_quadratic, value, where, good_steps):
    problem, _ = random_quadratic()
    for weight, gradient in zip(problem.weights, problem.gradients, strict=True):
        weight.grad = gradient
    guarded = GuardedOptimizer(LAMB(name="lamb", lr=0.1, max_grad_norm=1.0), problem.weights)
    step = problem.step_of(LookSAM(name="looksam", rho=0.05, k=2))
    for t in range(good_steps):
        guarded.step(step(t, problem).finite)
    before, passes = problem.weight_vector(), problem.evaluations
    kept = [value.clone() for value in moments(guarded)]

    def spoilt():
        if problem.evaluations - passes == int(where[-1]):
            if where.startswith("gradient"):
                problem.gradients[1][0] = value
            else:
                problem.numbers.fill_(value)

    problem.after_pass = spoilt

    descent = step(good_steps, problem)
    assert not descent.finite
    guarded.step(descent.finite)
    for t in range(good_steps + 1, good_steps + 4):  # the host may read the flag late: good steps must not move, either
        guarded.step(step(t, problem).finite)
    assert torch.equal(problem.weight_vector(), before)
    now = moments(guarded)
    assert len(now) == 6
    assert all(torch.equal(a, b) for a, b in zip(now, kept or [torch.zeros_like(a) for a in now], strict=True))


def test_a_step_waits_for_the_device_nowhere(no_reading):
    weights = small_weights()
    guarded = GuardedOptimizer(LAMB(name="lamb", lr=0.1, max_grad_norm=1.0), weights)
    for weight in weights:
        weight.grad = torch.ones_like(weight)
    guarded.step(torch.tensor(True))
    counters = [group["step"] for group in guarded.base.param_groups]  # timm keeps these on the host
    assert all(counter.device.type == "cpu" for counter in counters)
    with no_reading(allowed=counters):
        guarded.step(torch.tensor(True))
        guarded.step(torch.tensor(False))


def test_weights_without_a_gradient_are_passed_over():
    weights = small_weights()
    guarded = GuardedOptimizer(LAMB(name="lamb", lr=0.1), weights)
    before = weights[0].detach().clone()
    for weight in weights[1:]:
        weight.grad = torch.ones_like(weight)
    guarded.step(torch.tensor(True))
    assert torch.equal(weights[0], before)
    assert not torch.equal(weights[2], small_weights()[2])


@pytest.mark.parametrize("precision", ["fp32", "fp64"])
@pytest.mark.parametrize("at", [6, 7, 8, 9, 10])
def test_resume_is_bit_exact(run, small_spec, at, precision):
    spec = small_spec(
        method={"name": "look_layersam", "rho": 0.05, "alpha": "auto"}, steps=16, precision=precision,
        optimizer={"name": "lamb", "lr": 0.02, "max_grad_norm": 1.0}, checkpoint={"every_steps": at, "keep": 9},
    )  # fmt: skip
    whole = run(spec)
    again = run(spec, resume=[whole.folder / "checkpoints" / f"step-{at:08d}"])
    assert all(torch.equal(again.weights[name], value) for name, value in whole.weights.items())
    later = {step: values for step, values in whole.deterministic_points.items() if step > at}
    assert again.deterministic_points == later
    ours, theirs = again.saved().optimizer, whole.saved().optimizer
    assert [group["step"].item() for group in ours["param_groups"]] == [16.0, 16.0]
    for number, state in theirs["state"].items():
        for name, value in state.items():
            assert torch.equal(ours["state"][number][name], value)
            assert ours["state"][number][name].dtype == value.dtype


def test_learns(run, small_spec):
    spec = small_spec(
        optimizer={"name": "lamb", "lr": 0.1}, steps=120, logging={"every_steps": 120},
        evaluation={"every_epochs": 60},
    )  # fmt: skip
    points = run(spec).recorder.points
    assert points[120]["train_loss"] < 0.7 * points[1]["train_loss"]
