"""The algorithm against closed forms on quadratics, identities after a refresh, and changes that must not matter."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from trainer import looksam
from trainer.contract.methods import SAM, LookSAM, NoMethod
from trainer.step import MethodState

# On six-dimensional quadratics in float64 each quantity is a handful of operations on numbers near 1: a few 1e-16 each.
FEW_ROUNDINGS = 1e-13


def close(a: Tensor, b: Tensor, tolerance: float = FEW_ROUNDINGS) -> bool:
    return bool((a - b).norm() <= tolerance * (1 + b.norm()))


class TestClosedForms:
    @pytest.mark.parametrize("rho", [1e-4, 0.05, 1.0, 100.0])
    def test_o1_the_perturbed_gradient_and_its_orthogonal_part_follow_the_hessian(self, random_quadratic, rho):
        problem, hessian = random_quadratic()
        problem.evaluate()
        g = problem.gradient_vector()
        h = g / g.norm()
        descent = problem.step_of(LookSAM(name="looksam", rho=rho))(0, problem)
        hh = hessian @ h
        curvature = h @ hh
        expected_g_v = rho * (hh - curvature * h)
        g_s = problem.gradient_vector()
        assert close(g_s, g + rho * hh)
        direction = torch.cat([part.reshape(-1) for part in problem.state.direction])
        # g_v is a difference of vectors of size ||g||: at rho = 1e-4 cancellation leaves 1e-16 / 1e-4 of it.
        assert close(direction, expected_g_v / expected_g_v.norm(), 1e-11)
        expected_norm = rho * (h @ hessian @ hessian @ h - curvature**2).sqrt()
        assert close(descent.signals["orthogonal_ratio"], expected_norm / g.norm(), 1e-11)

    def test_o2_reuse_does_not_depend_on_rho(self, random_quadratic):
        ends = []
        for rho in (1e-4, 1e-2, 1.0, 100.0):
            problem, _ = random_quadratic()
            step = problem.step_of(LookSAM(name="looksam", rho=rho, k=5, alpha=0.5))
            step(0, problem)  # only the direction is kept: the first update itself depends on rho
            for t in range(1, 5):
                step(t, problem)
                problem.descend(0.01)
            ends.append(problem.weight_vector())
        # 2e-11 is what algebra in float64 leaves at rho = 1e-4 (g_v is 1e-4 of g, so 1e-16 becomes 1e-12, times steps).
        assert all(close(end, ends[0], 2e-11) for end in ends)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    @pytest.mark.parametrize("case", ["eigenvector", "sphere", "one_dimension", "rho_zero"])
    def test_o3_without_an_orthogonal_part_reuse_is_the_base_step(self, quadratic, dtype, case):
        hessian = torch.diag(torch.tensor([10.0, 5.0, 2.0, 0.5], dtype=dtype))
        w = torch.tensor([0.3, 0.0, 0.0, 0.0] if case == "eigenvector" else [0.3, -1.1, 0.7, 2.3], dtype=dtype)
        if case == "sphere":
            hessian = 3.0 * torch.eye(4, dtype=dtype)
        if case == "one_dimension":
            hessian, w = hessian[:1, :1], w[:1]
        problem = quadratic(hessian, torch.zeros_like(w), w, [1] * len(w))
        step = problem.step_of(LookSAM(name="looksam", rho=0.0 if case == "rho_zero" else 0.05, alpha=0.7))
        for t in range(5):
            step(t, problem)
            if t:
                d = problem.gradient_vector()
                problem.evaluate()
                assert torch.equal(d, problem.gradient_vector())
            problem.descend(0.01)
        assert not problem.state.direction_exists
        assert problem.weight_vector().isfinite().all()

    def test_o4_one_dimension_by_hand(self, quadratic):
        curvature, lr, rho, w = 2.0, 0.1, 0.05, -1.5
        problem = quadratic(
            torch.tensor([[curvature]], dtype=torch.float64), torch.zeros(1, dtype=torch.float64),
            torch.tensor([w], dtype=torch.float64),
        )  # fmt: skip
        step = problem.step_of(LookSAM(name="looksam", rho=rho, k=2, alpha=0.7))
        for t in range(6):
            step(t, problem)
            problem.descend(lr)
            sign = 1.0 if w > 0 else -1.0
            w = (1 - lr * curvature) * w - (lr * curvature * rho * sign if t % 2 == 0 else 0.0)
            assert problem.weight_vector().item() == pytest.approx(w, rel=FEW_ROUNDINGS)

    def test_o5_sam_ends_in_its_limit_cycle(self, quadratic):
        eigenvalues = torch.tensor([10.0, 5.0, 2.0, 1.0], dtype=torch.float64)
        lr, rho = 0.05, 0.05
        w0 = torch.linspace(0.5, 1.5, 4, dtype=torch.float64)
        problem = quadratic(torch.diag(eigenvalues), torch.zeros(4, dtype=torch.float64), w0, [2, 2])
        step = problem.step_of(SAM(name="sam", rho=rho))
        for t in range(1000):  # the slowest direction shrinks by 0.95 a step: 5e-23 is left of it
            step(t, problem)
            problem.descend(lr)
        top, rest = problem.weight_vector()[0].abs().item(), problem.weight_vector()[1:].norm().item()
        assert top == pytest.approx(lr * rho * 10 / (2 - lr * 10), rel=1e-12)  # its floor after so many steps
        assert rest < 1e-12

    def test_o6_scaling_the_start_and_rho_scales_the_path(self, quadratic):
        def path(scale: float) -> Tensor:
            hessian = torch.diag(torch.tensor([3.0, 1.0, 0.2], dtype=torch.float64))
            w0 = scale * torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
            problem = quadratic(hessian, torch.zeros(3, dtype=torch.float64), w0, [1, 2])
            step = problem.step_of(LookSAM(name="looksam", rho=0.05 * scale, k=3, alpha=0.3))
            for t in range(12):
                step(t, problem)
                problem.descend(0.1)
            return problem.weight_vector()

        assert close(path(8.0), 8.0 * path(1.0))


class TestIdentitiesAfterARefresh:
    # float64 as the reference page says; float32: an ulp of g_s, 6e-8, blown up by ||g_s||/||g_v||, times a few.
    @pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
    def test_split_and_restore(self, random_quadratic, dtype, tolerance):
        problem, _ = random_quadratic(dtype=dtype)
        before = problem.weight_vector()
        problem.evaluate()
        g = problem.gradient_vector()
        descent = problem.step_of(LookSAM(name="looksam", rho=0.05, alpha=0.5))(0, problem)
        assert torch.equal(problem.weight_vector(), before), "the weights are restored bit for bit"
        g, g_s = g.double(), problem.gradient_vector().double()
        u = torch.cat(problem.state.direction).double()
        g_v = u * descent.signals["orthogonal_ratio"] * g.norm()
        g_h = g_s - g_v
        assert abs(g @ g_v) <= tolerance * g.norm() * g_s.norm()
        assert abs(g_s.norm() ** 2 - g_h.norm() ** 2 - g_v.norm() ** 2) <= 4 * tolerance * g_s.norm() ** 2
        cosine = descent.signals["gradient_cosine"]
        assert abs(g_h.norm() - g_s.norm() * cosine.abs()) <= tolerance * g_s.norm()
        assert abs(cosine - g @ g_s / (g.norm() * g_s.norm())) <= tolerance
        assert abs(descent.signals["perturbed_grad_norm"] - g_s.norm()) <= tolerance * g_s.norm()

    def test_the_perturbation_has_norm_rho_over_all_tensors(self, random_quadratic):
        problem, _ = random_quadratic()
        before = problem.weight_vector()
        problem.evaluate()
        scales = looksam.ascent(problem.weights, problem.gradients, looksam.norms(problem.gradients), rho=0.37)
        saved = looksam.perturb(problem.weights, problem.gradients, scales)
        step = problem.weight_vector() - before
        assert abs(step.norm() - 0.37) <= 1e-15 * 10  # w + eps is rounded at the size of w, near 1
        assert close(step / 0.37, problem.gradient_vector() / problem.gradient_vector().norm())
        looksam.restore(problem.weights, saved)
        assert torch.equal(problem.weight_vector(), before)

    def test_reuse_adds_alpha_times_the_gradient_norm_along_the_direction(self, random_quadratic):
        problem, _ = random_quadratic()
        step, alpha = problem.step_of(LookSAM(name="looksam", rho=0.05, alpha=0.5)), 0.5
        step(0, problem)
        problem.descend(0.05)
        step(1, problem)
        d = problem.gradient_vector()
        problem.evaluate()
        g, u = problem.gradient_vector(), torch.cat(problem.state.direction)
        assert close((d - g).norm(), alpha * g.norm())
        assert close((d - g) / (d - g).norm(), u)
        cosine = (g @ u) / g.norm()
        assert close(d.norm() ** 2, g.norm() ** 2 * (1 + alpha**2 + 2 * alpha * cosine))

    def test_an_exception_in_the_second_pass_leaves_the_weights_as_they_were(self, random_quadratic):
        problem, _ = random_quadratic()
        before = problem.weight_vector()

        def fails_the_second_time():
            if problem.evaluations == 2:
                assert not torch.equal(problem.weight_vector(), before), "it is perturbed now"
                raise KeyboardInterrupt

        problem.after_pass = fails_the_second_time
        with pytest.raises(KeyboardInterrupt):
            problem.step_of(SAM(name="sam"))(0, problem)
        assert torch.equal(problem.weight_vector(), before)


class TestChangesThatMustNotMatter:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    @pytest.mark.parametrize("alpha", ["auto", 0.5])
    def test_m1_a_loss_times_a_power_of_two_trains_bit_for_bit_the_same(self, objective, dtype, alpha):
        def end(factor: float) -> Tensor:
            start = [torch.linspace(-1, 1, 6, dtype=dtype).reshape(2, 3), torch.linspace(0.1, 0.9, 3, dtype=dtype)]

            def loss(weights) -> Tensor:
                return factor * ((weights[0].tanh() * weights[1]).sin() ** 2).sum()

            problem = objective(start, loss)
            step = problem.step_of(LookSAM(name="looksam", rho=0.05, k=3, alpha=alpha))
            for t in range(12):
                step(t, problem)
                problem.descend(0.1 / factor)
            return problem.weight_vector()

        # Scaling by a power of two is exact in every operation, so no rounding differs.
        assert torch.equal(end(1.0), end(1024.0))
        assert torch.equal(end(1.0), end(2.0**-6))

    @pytest.mark.parametrize("sizes", [(6,), (3, 3), (1, 1, 1, 1, 1, 1)])
    def test_m4_how_the_vector_is_cut_into_tensors(self, random_quadratic, sizes):
        def end(sizes) -> Tensor:
            problem, _ = random_quadratic(sizes)
            step = problem.step_of(LookSAM(name="looksam", rho=0.05, k=3, alpha=0.5))
            for t in range(30):
                step(t, problem)
                problem.descend(0.02)
            return problem.weight_vector()

        # Only the order of sums differs, for 30 contracting steps.
        assert close(end(sizes), end((1, 2, 3)), 1e-12)

    def test_m5_tensors_without_any_gradient_stay_bitwise_and_make_no_nan(self, objective):
        start = [torch.tensor([1.0, 2.0]), torch.tensor([3.0]), torch.zeros(2, 2)]
        problem = objective(start, lambda weights: (weights[0] ** 2).sum() + (weights[2] * 0.0).sum())
        step = problem.step_of(LookSAM(name="looksam", rho=0.05, k=2, alpha=0.7))
        for t in range(6):
            step(t, problem)
            problem.descend(0.1)
        assert torch.equal(problem.weights[1].detach(), start[1])
        assert torch.equal(problem.weights[2].detach(), start[2])
        assert problem.weight_vector().isfinite().all()

    def test_a_gradient_of_zero_makes_no_ascent_and_no_nan(self, quadratic):
        problem = quadratic(torch.eye(3), torch.zeros(3), torch.zeros(3))
        step = problem.step_of(LookSAM(name="looksam", rho=0.05))
        for t in range(7):
            descent = step(t, problem)
            assert descent.finite
            assert torch.equal(problem.gradient_vector(), torch.zeros(3))


class TestGate:
    def test_rho_zero_in_float32_leaves_no_direction_whatever_the_noise(self, objective):
        generator = torch.Generator().manual_seed(0)
        start = [torch.randn(50, 40, generator=generator), torch.randn(40, generator=generator)]
        x = torch.randn(64, 50, generator=generator)
        problem = objective(start, lambda w: ((x @ w[0]).tanh() * w[1]).square().mean())
        descent = problem.step_of(LookSAM(name="looksam", rho=0.0, alpha=0.7))(0, problem)
        assert not problem.state.direction_exists
        assert all(torch.equal(part, torch.zeros_like(part)) for part in problem.state.direction)
        assert descent.signals["orthogonal_ratio"] == 0

    def test_a_small_but_real_direction_passes(self, quadratic):
        hessian = torch.diag(torch.tensor([2.0, 1.0], dtype=torch.float64))
        w = torch.tensor([1.0, 1e-9], dtype=torch.float64)  # nearly an eigenvector: ||g_v|| is about 1e-11 ||g_s||
        problem = quadratic(hessian, torch.zeros(2, dtype=torch.float64), w, [1, 1])
        problem.step_of(LookSAM(name="looksam", rho=0.05))(0, problem)
        assert problem.state.direction_exists


class TestPersistence:
    def test_follows_the_positive_part_of_the_cosine(self):
        def moved(c: float, cosine: float) -> float:
            return looksam.updated_persistence(torch.tensor(c).double(), torch.tensor(cosine).double()).item()

        assert moved(0.5, 1.0) == pytest.approx(0.6, rel=1e-15)
        assert moved(0.5, -0.9) == pytest.approx(0.4, rel=1e-15)
        assert moved(0.5, float("nan")) == 0.5

    def test_a_gated_direction_leaves_it(self, random_quadratic):
        problem, _ = random_quadratic()
        step = problem.step_of(LookSAM(name="looksam", rho=0.05, k=1))
        for t in range(3):
            step(t, problem)
        held = problem.state.persistence.clone()
        assert held > 0.3  # two refreshes at one point: cosine 1 twice, so 0.36
        problem.state.direction_exists = torch.tensor(False)
        descent = step(3, problem)
        assert torch.equal(problem.state.persistence, held)
        assert descent.signals["direction_cosine"].isnan()

    def test_weak_refreshes_are_counted_in_a_row(self, random_quadratic):
        problem, _ = random_quadratic()
        step = problem.step_of(LookSAM(name="looksam", rho=0.05, k=1))
        problem.state.weak_refreshes = torch.tensor(18.0, dtype=torch.float64)
        step(0, problem)
        assert problem.state.weak_refreshes == 19
        step(1, problem)  # at the same point: cosine 1, so c is 0.2
        assert problem.state.weak_refreshes == 0

    def test_a_resume_without_the_direction_refreshes_at_once_and_leaves_it(self, random_quadratic):
        problem, _ = random_quadratic()
        step = problem.step_of(LookSAM(name="looksam", rho=0.05, k=5))
        for t in range(6):
            step(t, problem)
        held, evaluations = problem.state.persistence.clone(), problem.evaluations
        problem.state.direction = None
        step(7, problem)
        assert problem.evaluations - evaluations == 2
        assert torch.equal(problem.state.persistence, held)
        step(8, problem)
        assert problem.evaluations - evaluations == 3


class TestPasses:
    @pytest.mark.parametrize(
        ("method", "passes"),
        [
            (NoMethod(), 23),
            (SAM(name="sam"), 46),
            (SAM(name="sam", k=5), 23 + 5),
            (LookSAM(name="looksam", k=5), 23 + 5),
            (LookSAM(name="looksam", k=1), 46),
            (LookSAM(name="looksam", k=100), 24),
        ],
    )
    def test_are_counted_as_they_happen(self, random_quadratic, method, passes):
        problem, _ = random_quadratic()
        step = problem.step_of(method)
        for t in range(23):
            step(t, problem)
            problem.descend(0.01)
        assert problem.evaluations == passes
        assert problem.state.gradient_evaluations == passes


def test_a_fresh_state_has_no_direction() -> None:
    state = MethodState.fresh(torch.device("cpu"))
    assert state.direction is None
    assert state.alpha.item() == state.persistence.item() == 0.0
