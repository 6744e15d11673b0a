"""The layer-wise ascent: norms of eps by rule, trust 1, zeros, and what the methods become in their limits."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from trainer import layerwise, looksam
from trainer.contract.methods import SAM, LayerSAM, LookLayerSAM, LookSAM

RULES = ["trust", "literal", "unit", "asam_dual"]
RHO = 0.05
SHAPES = [(40, 30), (30,), (5, 4, 3, 3), (), (1,), (1, 7), (30, 10), (10,)]
VIT = {
    "name": "vit_tiny_patch16_224",
    "arguments": {"patch_size": 4, "embed_dim": 16, "depth": 1, "num_heads": 2, "proj_drop_rate": 0.2},
}


def tensors(seed: int, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in SHAPES]


def eps_of(weights, gradient, rule, *, excluded: bool = False, rho: float = RHO) -> list[Tensor]:
    norms = looksam.norms(gradient)
    scales = layerwise.ascent(weights, gradient, norms, rho=rho, rule=rule, exclude_one_dimensional=excluded)
    return [scale * g for scale, g in zip(scales, gradient, strict=True)]


def size(tensor: Tensor) -> float:
    return tensor.double().norm().item()


class TestNorms:
    # float32: the scale and each product are rounded once, 6e-8 each; so 1e-6, the bar that was set, has room.
    def test_trust_is_rho_of_each_tensors_norm_and_rho_where_trust_is_1(self):
        weights, gradient = tensors(1), tensors(2)
        weights[2].zero_()  # a fresh tensor of four axes
        for weight, eps in zip(weights, eps_of(weights, gradient, "trust"), strict=True):
            trusted = weight.ndim >= 2 and size(weight) > 0
            assert size(eps) == pytest.approx(RHO * (size(weight) if trusted else 1.0), rel=1e-6)

    def test_trust_of_matrices_is_rho_of_the_whole_norm(self):
        weights, gradient = ([t for t in tensors(seed) if t.ndim > 1] for seed in (1, 2))
        eps = eps_of(weights, gradient, "trust")
        assert looksam.norm(eps).item() == pytest.approx(RHO * looksam.norm(weights).item(), rel=1e-6)

    def test_literal_is_that_divided_by_the_gradient_norm(self):
        weights, gradient = tensors(1), tensors(2)
        norm = looksam.norm(gradient).item()
        for weight, g, eps in zip(weights, gradient, eps_of(weights, gradient, "literal"), strict=True):
            ratio = size(weight) / size(g) if weight.ndim > 1 else 1.0
            assert size(eps) == pytest.approx(RHO * ratio * size(g) / norm, rel=1e-6)

    def test_unit_is_rho_for_each(self):
        for eps in eps_of(tensors(1), tensors(2), "unit"):
            assert size(eps) == pytest.approx(RHO, rel=1e-6)

    @pytest.mark.parametrize("excluded", [False, True])
    def test_asam_dual_is_rho_over_all_in_its_own_norm(self, excluded):
        weights, gradient = tensors(1), tensors(2)
        eps = eps_of(weights, gradient, "asam_dual", excluded=excluded)
        scaled = [e / (size(w) if w.ndim > 1 else 1.0) for e, w in zip(eps, weights, strict=True)]
        assert looksam.norm(scaled).item() == pytest.approx(RHO, rel=1e-6)

    @pytest.mark.parametrize("rule", RULES)
    def test_points_up_the_gradient_tensor_by_tensor(self, rule):
        weights, gradient = tensors(1, torch.float64), tensors(2, torch.float64)
        for eps, g in zip(eps_of(weights, gradient, rule), gradient, strict=True):
            # float64, one rounding an element.
            torch.testing.assert_close(eps / size(eps), g / size(g), rtol=1e-14, atol=1e-15)


def test_the_weights_move_by_it_in_a_refresh_and_come_back(objective):
    """What the second pass of a Look-LayerSAM step really sees, in float64."""
    start = [torch.randn(6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(3)),
             torch.linspace(0.1, 0.5, 5, dtype=torch.float64), torch.zeros(5, 2, dtype=torch.float64)]  # fmt: skip
    x = torch.randn(8, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    seen: list[list[Tensor]] = []

    def loss(weights):
        seen.append([weight.detach().clone() for weight in weights])
        return ((x @ weights[0] + weights[1]).tanh() @ weights[2] - 1.0).square().mean() + weights[0].square().sum()

    problem = objective(start, loss)
    problem.step_of(LookLayerSAM(name="look_layersam", rho=RHO))(0, problem)
    before, perturbed = seen
    expected = [RHO * size(start[0]), 0.0, RHO]  # the bias has no gradient while the head is zero
    for a, b, norm in zip(before, perturbed, expected, strict=True):
        assert size(b - a) == pytest.approx(norm, rel=1e-12)  # w + eps is rounded at the size of w, 20 times eps
    assert all(torch.equal(a, b) for a, b in zip(problem.weights, before, strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rule", RULES)
class TestZeros:
    def test_one_dimensional_tensors_can_be_left_out(self, rule, dtype):
        weights, gradient = tensors(1, dtype), tensors(2, dtype)
        for weight, eps in zip(weights, eps_of(weights, gradient, rule, excluded=True), strict=True):
            assert (size(eps) == 0) == (weight.ndim <= 1)

    def test_a_tensor_without_gradient_is_not_perturbed(self, rule, dtype):
        weights, gradient = tensors(1, dtype), tensors(2, dtype)
        whole = eps_of(weights, gradient, rule)
        gradient[0].zero_()
        gradient[1].zero_()
        eps = eps_of(weights, gradient, rule)
        assert [size(e) == 0 for e in eps] == [True, True, *[False] * 6]
        assert all(e.isfinite().all() for e in eps)
        if rule in ("trust", "unit"):  # the others share a norm over all tensors
            assert all(torch.equal(a, b) for a, b in zip(eps[2:], whole[2:], strict=True))

    @pytest.mark.parametrize("excluded", [False, True])
    def test_no_gradient_at_all_is_no_ascent_and_no_nan(self, rule, dtype, excluded):
        weights, gradient = tensors(1, dtype), [torch.zeros_like(t) for t in tensors(2, dtype)]
        assert all(size(e) == 0 for e in eps_of(weights, gradient, rule, excluded=excluded))

    def test_only_excluded_tensors_is_no_ascent_and_no_nan(self, rule, dtype):
        weights, gradient = ([t for t in tensors(seed, dtype) if t.ndim <= 1] for seed in (1, 2))
        assert all(size(e) == 0 for e in eps_of(weights, gradient, rule, excluded=True))

    def test_a_zero_tensor_is_perturbed(self, rule, dtype):
        weights, gradient = tensors(1, dtype), tensors(2, dtype)
        weights[0].zero_()
        assert size(eps_of(weights, gradient, rule)[0]) > 0

    def test_a_gradient_near_the_smallest_numbers_gives_no_infinity(self, rule, dtype):
        weights, gradient = tensors(1, dtype), tensors(2, dtype)
        gradient[0].fill_(torch.finfo(dtype).smallest_normal / 1024)
        assert all(e.isfinite().all() for e in eps_of(weights, gradient, rule, rho=100.0))

    def test_steps_at_a_flat_point_stay_there(self, objective, rule, dtype):
        start = [torch.ones(2, 3, dtype=dtype), torch.zeros(3, dtype=dtype)]
        problem = objective(start, lambda weights: (weights[0] * 0.0).sum() + (weights[1] * 0.0).sum())
        step = problem.step_of(LookLayerSAM(name="look_layersam", rho=RHO, layerwise=rule, k=2, alpha="fresh_ratio"))
        for t in range(5):
            assert step(t, problem).finite
            assert torch.equal(problem.gradient_vector(), torch.zeros(9, dtype=dtype))


@pytest.mark.parametrize("alpha", [0.5, "auto", "fresh_ratio"])
@pytest.mark.parametrize("rule", RULES)
def test_no_step_waits_for_the_device(objective, no_reading, rule, alpha):
    problem = objective([torch.ones(2, 3), torch.zeros(3)], lambda w: (w[0].sin() + w[1]).square().sum())
    step = problem.step_of(LookLayerSAM(name="look_layersam", rho=RHO, layerwise=rule, k=2, alpha=alpha))
    with no_reading():
        for t in range(4):
            step(t, problem)
    with no_reading(), pytest.raises(AssertionError, match="waits for the device"):
        problem.weights[0].sum().item()


class TestFreshRatio:
    def test_a_fresh_direction_gives_back_the_perturbed_gradient_without_its_part_along_g(self, random_quadratic):
        """d = g + g_v: what GSAM descends along with alpha 1. At the refresh's own weights, so that g is the same."""
        problem, _ = random_quadratic()
        step = problem.step_of(LookSAM(name="looksam", rho=0.3, k=5, alpha="fresh_ratio"))
        descent = step(0, problem)
        g_s = problem.gradient_vector()
        step(1, problem)
        d = problem.gradient_vector()
        problem.evaluate()
        g = problem.gradient_vector()
        g_v = g_s - (g @ g_s) / (g @ g) * g
        assert (d - (g + g_v)).norm() <= 1e-13 * d.norm()  # float64, a handful of operations
        assert descent.signals["alpha"] == descent.signals["orthogonal_ratio"] > 0
        assert "persistence" not in descent.signals

    def test_is_not_bounded_by_one(self, random_quadratic):
        problem, _ = random_quadratic()
        descent = problem.step_of(LookSAM(name="looksam", rho=100.0, alpha="fresh_ratio"))(0, problem)
        assert descent.signals["alpha"] > 1

    def test_gives_no_notice_of_persistence(self, run, small_spec):
        spec = small_spec(method={"name": "looksam", "k": 1, "rho": 0.0, "alpha": "fresh_ratio"}, steps=30)
        assert not run(spec).recorder.notices


def same_bits(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


class TestReductions:
    """Bit for bit, with dropout: the arithmetic is the same, not merely close."""

    @pytest.mark.parametrize("rule", RULES)
    def test_look_layersam_with_k_1_is_layersam(self, run, small_spec, rule):
        common = {"rho": 0.1, "layerwise": rule, "k": 1}
        a = run(small_spec(model=VIT, method={"name": "look_layersam", **common, "alpha": 0.3}))
        b = run(small_spec(model=VIT, method={"name": "layersam", **common}))
        assert same_bits(a.weights, b.weights)
        assert a.outcome.gradient_evaluations == b.outcome.gradient_evaluations == 24

    @pytest.mark.parametrize("rule", RULES)
    def test_look_layersam_with_alpha_0_is_layersam_every_k(self, run, small_spec, rule):
        common = {"rho": 0.1, "layerwise": rule, "k": 5, "one_dimensional": "excluded"}
        a = run(small_spec(model=VIT, method={"name": "look_layersam", **common, "alpha": 0.0}))
        b = run(small_spec(model=VIT, method={"name": "layersam", **common}))
        assert same_bits(a.weights, b.weights)
        assert a.outcome.gradient_evaluations == b.outcome.gradient_evaluations == 15

    def test_rho_0_is_the_base_optimizer(self, run, small_spec):
        a = run(small_spec(model=VIT, method={"name": "look_layersam", "rho": 0.0, "alpha": 0.7}))
        assert same_bits(a.weights, run(small_spec(model=VIT)).weights)

    def test_the_rules_differ(self, run, small_spec):
        ends = [run(small_spec(method={"name": "layersam", "rho": 0.1, "layerwise": rule})).weights for rule in RULES]
        ends.append(run(small_spec(method={"name": "sam", "rho": 0.1})).weights)
        assert not any(same_bits(a, b) for i, a in enumerate(ends) for b in ends[:i])

    @pytest.mark.parametrize(("rule", "scale"), [("unit", 1.0), ("trust", 2.0), ("asam_dual", 2.0)])
    def test_one_matrix_alone_is_sam(self, objective, rule, scale):
        """With a single tensor of norm 2 only rho's unit is left of the rules."""
        start = [torch.full((2, 2), 1.0, dtype=torch.float64)]
        target = torch.tensor([[0.3, 1.0], [-2.0, 0.1]], dtype=torch.float64)

        def loss(weights):
            return ((weights[0] - target) ** 4).sum()

        ours, sam = objective(start, loss), objective(start, loss)
        ours.step_of(LayerSAM(name="layersam", rho=0.1, layerwise=rule))(0, ours)
        sam.step_of(SAM(name="sam", rho=0.1 * scale))(0, sam)
        assert (ours.gradient_vector() - sam.gradient_vector()).norm() <= 1e-13 * sam.gradient_vector().norm()


def test_resume_is_bit_exact_at_every_phase(run, small_spec):
    spec = small_spec(
        model=VIT, method={"name": "look_layersam", "rho": 0.1}, steps=16, checkpoint={"every_steps": 1, "keep": 16}
    )
    whole = run(spec)
    for at in range(6, 11):
        again = run(spec, resume=[whole.folder / "checkpoints" / f"step-{at:08d}"])
        assert same_bits(whole.weights, again.weights)
        later = {step: values for step, values in whole.deterministic_points.items() if step > at}
        assert again.deterministic_points == later


def test_the_notice_names_the_method_without_reuse(run, small_spec):
    result = run(small_spec(method={"name": "look_layersam", "k": 1, "rho": 0.0}, steps=25))
    assert "LayerSAM every k does the same" in result.recorder.notices[0][1]
