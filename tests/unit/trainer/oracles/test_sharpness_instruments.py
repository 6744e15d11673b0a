"""What is measured of sharpness on the way, against the full Hessian of models that have one: slopes, not values.

`directional_curvature` is (g_s - g)'h/rho, which tends to h'H*h; `loss_rise` is L(w + eps) - L(w). The product has no
Lanczos or trace estimate; its yardstick `sharpness` has tests of its own in test_sharpness.py.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.unit.trainer.oracles.network import Network, batch, joined, size
from tests.unit.trainer.oracles.reference import Momentum, Reference, train
from tests.unit.trainer.oracles.test_closed_forms import MODELS, each_model, gradient_direction_and_hessian, problem_of
from tests.unit.trainer.oracles.trained import method_of
from trainer.step import choose_step

RADII = [1e-2, 1e-3, 1e-4, 1e-5]


def refresh(objective, model, rho: float):
    """g_s and the signals of one SAM step; rho may be negative here, for central differences."""
    problem = problem_of(objective, model)
    step = choose_step(method_of({"name": "sam"}), problem.tensors, problem.state, rho=lambda t: rho)
    descent = step(0, problem)
    return problem.gradient_vector().numpy(), {name: value.item() for name, value in descent.signals.items()}


def slopes(errors: list[float]) -> np.ndarray:
    """Of log error against log rho, from one radius to the next."""
    return -np.diff(np.log10(errors))


@each_model
def test_the_forward_difference_of_gradients_has_slope_1(objective, model):
    g, h, hessian = gradient_direction_and_hessian(model)
    found = [(refresh(objective, model, rho)[0] - g) / rho for rho in RADII]
    errors = [size(each - hessian @ h) / size(hessian @ h) for each in found]
    # Within 0.1 of 1: rho's next order at 1e-2 and, at 1e-5, rounding of 1e-16/1e-5 against an error of 1e-6.
    np.testing.assert_allclose(slopes(errors), 1, atol=0.1)


@each_model
def test_the_central_difference_has_slope_2(objective, model):
    _, h, hessian = gradient_direction_and_hessian(model)
    radii = [1e-1, 1e-2, 1e-3]  # below, rounding of 1e-16/rho is no longer small against rho^2
    ends = [(refresh(objective, model, rho)[0], refresh(objective, model, -rho)[0]) for rho in radii]
    found = [(up - down) / (2 * rho) for (up, down), rho in zip(ends, radii, strict=True)]
    errors = [size(each - hessian @ h) / size(hessian @ h) for each in found]
    np.testing.assert_allclose(slopes(errors), 2, atol=0.1)


@each_model
def test_directional_curvature_tends_to_the_hessians_with_slope_1(objective, model):
    _, h, hessian = gradient_direction_and_hessian(model)
    curvature = h @ hessian @ h
    found = [refresh(objective, model, rho)[1]["directional_curvature"] for rho in RADII]
    errors = [abs(each - curvature) / abs(curvature) for each in found]
    np.testing.assert_allclose(slopes(errors[:3]), 1, atol=0.1)
    # It is a difference of norms near 1, so at 1e-5 rounding of 1e-16/1e-5 may show beside the slope.
    assert errors[3] < 1e-4


@each_model
def test_loss_rise_is_its_second_order_expansion_with_slope_3(objective, model):
    g, h, hessian = gradient_direction_and_hessian(model)
    radii = [1e-2, 1e-3, 1e-4]  # at 1e-4 the third order is near 1e-13, hundreds of times the rounding of a loss
    errors = []
    for rho in radii:
        rise = refresh(objective, model, rho)[1]["loss_rise"]
        errors.append(abs(rise - (rho * size(g) + rho**2 * h @ hessian @ h / 2)))
    np.testing.assert_allclose(slopes(errors), 3, atol=0.2)


@pytest.mark.parametrize("model", [MODELS["logistic"], MODELS["softmax"]], ids=["logistic", "softmax"])
@pytest.mark.parametrize("rho", [1e-3, 0.05, 1.0, 30.0])
def test_loss_rise_of_a_convex_loss_is_at_least_rho_times_the_gradient_norm(objective, model, rho):
    g, _, _ = gradient_direction_and_hessian(model)
    rise = refresh(objective, model, rho)[1]["loss_rise"]
    assert rise >= rho * size(g)
