"""Where the ascent is taken: over the global batch, per rank or per micro-batch. Ranks are in the integration tests.

All on float64 tensors of a few elements.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from trainer import layerwise, looksam
from trainer.contract.methods import SAM, LayerSAM, LookLayerSAM, LookSAM

START = [
    torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)),
    torch.linspace(-0.5, 0.5, 3, dtype=torch.float64),
]
INPUTS = [torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) for seed in (2, 3, 4)]


def loss_on(x: Tensor):
    return lambda weights: ((x @ weights[0] + weights[1]).tanh() - 0.3).square().mean()


METHODS = [
    pytest.param(SAM, {"name": "sam", "rho": 0.3}, id="sam"),
    pytest.param(LookSAM, {"name": "looksam", "rho": 0.3, "k": 2, "alpha": 0.5}, id="looksam"),
    pytest.param(LayerSAM, {"name": "layersam", "rho": 0.3, "layerwise": "literal"}, id="literal"),
    pytest.param(LookLayerSAM, {"name": "look_layersam", "rho": 0.3, "k": 2}, id="look_layersam"),
]


def gradient_of(loss, weights: list[Tensor]) -> list[Tensor]:
    leaves = [weight.clone().requires_grad_() for weight in weights]
    return list(torch.autograd.grad(loss(leaves), leaves))


@pytest.mark.parametrize("mode", ["per_rank", "per_microbatch"])
@pytest.mark.parametrize(("method", "fields"), METHODS)
def test_of_one_pass_on_one_rank_all_modes_are_the_same_bit_for_bit(objective, mode, method, fields):
    def trained(perturbation: str):
        problem = objective(START, loss_on(INPUTS[0]))
        step = problem.step_of(method(**fields, perturbation=perturbation))
        for t in range(5):
            step(t, problem)
            problem.descend(0.1)
        return problem

    ours, whole = trained(mode), trained("global")
    assert torch.equal(ours.weight_vector(), whole.weight_vector())
    assert ours.evaluations == whole.evaluations


@pytest.mark.parametrize(("method", "fields"), METHODS)
def test_each_micro_batch_climbs_its_own_gradient(objective, method, fields):
    """d of a refresh by hand: the mean of each micro-batch's gradient where its own ascent led."""
    problem = objective(START, *map(loss_on, INPUTS))
    problem.step_of(method(**fields, perturbation="per_microbatch"))(0, problem)
    expected = [torch.zeros_like(weight) for weight in START]
    for loss in map(loss_on, INPUTS):
        own = gradient_of(loss, START)
        if method in (SAM, LookSAM):
            scales = looksam.ascent(START, own, looksam.norms(own), rho=0.3)
        else:
            rule = fields.get("layerwise", "trust")
            scales = layerwise.ascent(
                START, own, looksam.norms(own), rho=0.3, rule=rule, exclude_one_dimensional=False
            )  # fmt: skip
        there = [weight + scale * g for weight, scale, g in zip(START, scales, own, strict=True)]
        for total, g in zip(expected, gradient_of(loss, there), strict=True):
            total += g / len(INPUTS)
    for d, by_hand in zip(problem.gradients, expected, strict=True):
        # float64: a gradient of a dozen operations, scaled by 1/3 before or after.
        torch.testing.assert_close(d, by_hand, rtol=1e-13, atol=1e-15)
    assert all(torch.equal(a, b) for a, b in zip(problem.weights, START, strict=True)), "and the weights are back"


def test_the_direction_is_split_off_the_mean_gradient(objective):
    problem = objective(START, *map(loss_on, INPUTS))
    descent = problem.step_of(LookSAM(name="looksam", rho=0.3, perturbation="per_microbatch"))(0, problem)
    g_s = problem.gradient_vector()
    problem.evaluate()
    g = problem.gradient_vector()
    g_v = g_s - (g @ g_s) / (g @ g) * g
    direction = torch.cat([part.reshape(-1) for part in problem.state.direction])
    # float64, and cancellation: g_v is a tenth of g_s.
    torch.testing.assert_close(direction, g_v / g_v.norm(), rtol=1e-12, atol=1e-13)
    assert descent.gradient_norm.item() == pytest.approx(g.norm().item(), rel=1e-14)
    assert problem.state.gradient_evaluations == 2


@pytest.mark.parametrize("mode", ["global", "per_rank", "per_microbatch"])
@pytest.mark.parametrize("failing", [2, 4, 6])
def test_an_exception_at_any_perturbed_pass_puts_the_weights_back(objective, mode, failing):
    problem = objective(START, *map(loss_on, INPUTS))

    def fail() -> None:
        if problem.evaluations == failing:
            raise KeyboardInterrupt

    problem.after_pass = fail
    with pytest.raises(KeyboardInterrupt):
        problem.step_of(LookSAM(name="looksam", rho=0.3, perturbation=mode))(0, problem)
    assert all(torch.equal(a, b) for a, b in zip(problem.weights, START, strict=True))


def test_sam_with_an_ascent_of_its_own_needs_no_mean_gradient(objective):
    problem = objective(START, *map(loss_on, INPUTS))
    descent = problem.step_of(SAM(name="sam", rho=0.3, perturbation="per_microbatch"))(0, problem)
    assert descent.gradient_norm.isnan()
    assert descent.finite
    assert set(descent.signals) == {"loss_rise", "perturbed_grad_norm"}
    assert descent.signals["loss_rise"] > 0
