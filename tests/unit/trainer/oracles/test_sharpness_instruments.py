"""What is measured of sharpness on the way, against the full Hessian of models that have one: slopes, not values.

`directional_curvature` is (g_s - g)'h/rho, which tends to h'H*h; `loss_rise` is L(w + eps) - L(w). What is measured
where training ends has tests of its own: ../test_sharpness.py, and ../test_curvature.py (Lanczos, Hutchinson).
"""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.trainer.oracles.network import Network, batch, joined, size
from tests.unit.trainer.oracles.test_closed_forms import MODELS, each_model, gradient_direction_and_hessian, problem_of
from tests.unit.trainer.oracles.trained import method_of, trained
from trainer import looksam
from trainer.contract.optimizers import SGD
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


def images() -> tuple[np.ndarray, np.ndarray]:
    """64, noisy, the same at every step."""
    parts = [batch(t, noise=1.0) for t in range(4)]
    return np.concatenate([x for x, _ in parts]), np.concatenate([labels for _, labels in parts])


def top_eigenvalue(objective, document) -> float:
    """Of the full Hessian where 600 steps of momentum end, by dense eigendecomposition."""
    network = Network()
    end = trained(objective, document, network.start(), lambda t: [images()], 600, optimizer=SGD(name="sgd", lr=0.1))
    return float(np.linalg.eigvalsh(network.hessian(end[-1].weights, *images()))[-1])


def test_sam_ends_flattest_and_looksam_between(objective):
    sgd = top_eigenvalue(objective, {"name": "none"})
    looksam = top_eigenvalue(objective, {"name": "looksam", "rho": 0.3})
    sam = top_eigenvalue(objective, {"name": "sam", "rho": 0.3})
    # Found: 0.045, 0.016 and 0.010. A ratio of 1.2 is far above rounding, and far below what was found.
    assert sgd > 1.2 * looksam
    assert looksam > 1.2 * sam


def test_staleness_shows_whether_the_batch_repeats(objective):
    """cos(g_v now, before): high on a fixed batch, much lower with fresh noisy ones."""

    def median(batches) -> float:
        rows = trained(objective, {"name": "looksam", "rho": 0.05}, Network().start(), batches, 100)
        return float(np.median([r.signals["direction_cosine"] for r in rows if "direction_cosine" in r.signals]))

    fixed, fresh = median(lambda t: [batch(0, noise=1.0)]), median(lambda t: [batch(t, noise=1.0)])
    assert fixed > 0.6  # found: 0.74
    assert abs(fresh) < 0.3  # found: 0.18


@pytest.mark.parametrize("alpha", [0.1, 0.7, "auto", "fresh_ratio"])
def test_the_size_of_d_at_reuses_follows_the_stale_directions_cosine_with_g(run, small_spec, monkeypatch, alpha):
    """||d||^2 = ||g||^2 (1 + alpha^2 + 2 alpha cos(g, g_v)), with g_v one to four steps old in a whole run.

    No signal shows cos(g, g_v) at a reuse, so it is computed here, in NumPy, from what the step was handed.
    """
    reuse, seen = looksam.reuse, []

    def watched(gradient, direction, norms, strength, *scope):
        g, u = (joined([part.numpy() for part in each]) for each in (gradient, direction))
        reuse(gradient, direction, norms, strength, *scope)
        seen.append((g, u, joined([part.numpy() for part in gradient]), strength.item()))

    monkeypatch.setattr(looksam, "reuse", watched)
    run(small_spec(method={"name": "looksam", "rho": 0.1, "k": 5, "alpha": alpha}, steps=15, precision="fp64"))
    assert len(seen) == 15 - 3
    cosines = []
    for g, u, d, strength in seen:
        cosine = g @ u / (size(g) * size(u))
        # Sums of some five thousand float64 products: 1e-14 at most.
        assert d @ d == pytest.approx(g @ g * (1 + strength**2 + 2 * strength * cosine), rel=1e-13)
        assert size(d - g - strength * size(g) * u) <= 1e-14 * size(d)
        cosines.append(abs(cosine))
    # Fresh it would be orthogonal to 1e-13; stale it is not, so that the last term of the formula is there to be seen.
    assert min(cosines) > 1e-4
    assert max(strength for _, _, _, strength in seen) > 0
