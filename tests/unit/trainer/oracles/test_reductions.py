"""What the methods become in their limits, and what the base optimizer is given.

k=1, alpha=0 and rho=0 of the global scope are bit for bit on whole runs in test_loop.py and test_layerwise.py of the
folder above; here are the same per tensor and per micro-batch, and the rest.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from timm.optim import Lamb

from tests.unit.trainer.oracles.network import Arrays, Network, batch, joined, size
from tests.unit.trainer.oracles.reference import Reference, Row, train
from tests.unit.trainer.oracles.trained import method_of, trained
from trainer import looksam
from trainer.contract.optimizers import LAMB, SGD, AdamW

NETWORK = Network()
ALPHAS: list[Any] = [0.4, "auto", "fresh_ratio"]
EVERYWHERE = [
    {"perturbation": perturbation, "scope": scope}
    for perturbation in ("global", "per_rank", "per_microbatch")
    for scope in ("global", "per_tensor")
]


def words(document) -> str:
    return "-".join(str(value) for value in document.values())


def two_batches(t: int):
    return [batch(t, m) for m in range(2)]


def one_batch(t: int):
    return [batch(t)]


def same_bits(a: list[Row], b: list[Row]) -> bool:
    return all(np.array_equal(joined(x.weights), joined(y.weights)) for x, y in zip(a, b, strict=True))


class TestBitForBit:
    @pytest.mark.parametrize("options", EVERYWHERE, ids=words)
    @pytest.mark.parametrize("alpha", ALPHAS)
    def test_k_1_is_sam(self, objective, options, alpha):
        look = {"name": "looksam", "rho": 0.1, "k": 1, "alpha": alpha, **options}
        sam = {"name": "sam", "rho": 0.1, "perturbation": options["perturbation"]}
        ours, theirs = (trained(objective, method, NETWORK.start(), two_batches, 12) for method in (look, sam))
        assert same_bits(ours, theirs)

    @pytest.mark.parametrize("options", EVERYWHERE, ids=words)
    def test_alpha_0_is_sam_every_k(self, objective, options):
        look = {"name": "looksam", "rho": 0.1, "k": 4, "alpha": 0.0, **options}
        sam = {"name": "sam", "rho": 0.1, "k": 4, "perturbation": options["perturbation"]}
        ours, theirs = (trained(objective, method, NETWORK.start(), two_batches, 12) for method in (look, sam))
        assert same_bits(ours, theirs)

    @pytest.mark.parametrize("options", EVERYWHERE, ids=words)
    def test_rho_0_is_the_base_optimizer(self, objective, options):
        """Where one micro-batch is the batch: sums of several, and their two orders, would differ by a rounding."""
        look = {"name": "looksam", "rho": 0.0, "k": 4, "alpha": 0.7, **options}
        ours, theirs = (trained(objective, m, NETWORK.start(), one_batch, 12) for m in (look, {"name": "none"}))
        assert same_bits(ours, theirs)

    @pytest.mark.parametrize("perturbation", ["per_rank", "per_microbatch"])
    @pytest.mark.parametrize("name", ["sam", "looksam"])
    def test_one_rank_with_one_micro_batch_is_global(self, objective, name, perturbation):
        ours, theirs = (
            trained(objective, {"name": name, "rho": 0.1, "perturbation": each}, NETWORK.start(), one_batch, 12)
            for each in (perturbation, "global")
        )
        assert same_bits(ours, theirs)

    @pytest.mark.parametrize("name", ["sam", "looksam"])
    def test_out_of_its_window_it_is_the_base_optimizer(self, objective, name):
        document = {"name": name, "rho": 0.1, "start_step": 5, "stop_step": 8}
        ours = trained(objective, document, NETWORK.start(), one_batch, 12)
        base = trained(objective, {"name": "none"}, NETWORK.start(), one_batch, 12)
        assert same_bits(ours[:5], base[:5])
        assert not same_bits(ours[5:6], base[5:6])
        evaluations = [row.evaluations for row in ours]
        assert evaluations[11] - evaluations[7] == 4, "one a step after it"


class TestKBeyondTheRun:
    """k > T: one SAM step, then reuse of the one direction for ever."""

    @pytest.mark.parametrize("alpha", [0.4, "fresh_ratio"])
    def test_k_beyond_the_run_reuses_the_first_direction(self, objective, alpha):
        w, rho, lr = joined(NETWORK.start()), 0.1, 0.05

        def gradient(w: np.ndarray, t: int) -> np.ndarray:
            return joined(NETWORK.loss_and_gradient(NETWORK.cut(w), *batch(t))[1])

        g = gradient(w, 0)
        g_s = gradient(w + rho * g / size(g), 0)
        g_v = g_s - (g @ g_s) / (g @ g) * g
        strength = alpha if isinstance(alpha, float) else size(g_v) / size(g)
        w = w - lr * g_s
        for t in range(1, 40):
            g = gradient(w, t)
            w = w - lr * (g + strength * size(g) / size(g_v) * g_v)
        ours = trained(
            objective, {"name": "looksam", "rho": rho, "k": 100, "alpha": alpha}, NETWORK.start(), one_batch, 40,
            optimizer=SGD(name="sgd", lr=lr, momentum=0.0),
        )  # fmt: skip
        assert size(joined(ours[-1].weights) - w) <= 1e-9 * size(w)  # the bar of the fifty steps
        assert ours[-1].evaluations == 41

    def test_k_beyond_the_run_under_auto_is_sam_every_k(self, objective):
        """c starts at 0 and has seen no second direction yet, so nothing is added: the same bits."""
        ours, theirs = (
            trained(objective, {"name": name, "rho": 0.1, "k": 100}, NETWORK.start(), one_batch, 12)
            for name in ("looksam", "sam")
        )
        assert same_bits(ours, theirs)


def test_a_fresh_direction_at_its_own_strength_is_gsam(objective):
    """With alpha = ||g_v||/||g||, d = g + g_v: GSAM's direction as big_vision has it with minimize_fp=False, alpha=1.

    Two calls at each point, a refresh that moves nothing and then a reuse, so that it is fresh: thirty steps.
    """
    rho, lr = 0.2, 0.05
    current = 0

    def loss(weights):
        x, labels = map(torch.from_numpy, batch(current))
        scores = ((x @ weights[0] + weights[1]).tanh() @ weights[2]).tanh() @ weights[3]
        return torch.nn.functional.cross_entropy(scores, labels)

    generator = torch.Generator().manual_seed(2)
    start = [torch.randn(s, dtype=torch.float64, generator=generator) for s in [(5, 6), (6,), (6, 5), (5, 4)]]
    problem = objective(start, loss)
    step = problem.step_of(method_of({"name": "looksam", "rho": rho, "k": 2, "alpha": "fresh_ratio"}))
    w = [each.clone() for each in start]
    for current in range(30):
        step(2 * current, problem)
        step(2 * current + 1, problem)
        problem.descend(lr)

        clean = gradient_of(loss, w)
        length = torch.sqrt(sum((each**2).sum() for each in clean))
        unit = [each / length for each in clean]
        robust = gradient_of(loss, [each + rho * u for each, u in zip(w, unit, strict=True)])
        projection = sum((u * each).sum() for u, each in zip(unit, robust, strict=True))
        residual = [each - projection * u for u, each in zip(unit, robust, strict=True)]
        w = [each - lr * (g + rest) for each, g, rest in zip(w, clean, residual, strict=True)]
        distance = math.sqrt(sum(((a - b) ** 2).sum().item() for a, b in zip(problem.weights, w, strict=True)))
        # The same sums in another order. (big_vision adds 1e-12 to the norm; that is left out here.)
        assert distance <= 1e-12 * problem.weight_vector().norm()


def gradient_of(loss, weights):
    leaves = [each.clone().requires_grad_() for each in weights]
    return torch.autograd.grad(loss(leaves), leaves)


class FedByHand:
    """A library's optimizer, given d as its gradient: groups made here, kernels neither fused nor grouped."""

    def __init__(self, make) -> None:
        self.make, self.optimizer = make, None

    def step(self, w: Arrays, d: Arrays, lr: float) -> Arrays:
        if self.optimizer is None:
            self.weights = [torch.tensor(each).requires_grad_() for each in w]
            matrices = [each for each in self.weights if each.ndim > 1]
            others = [each for each in self.weights if each.ndim <= 1]
            self.optimizer = self.make(matrices, others, lr)
        for weight, each in zip(self.weights, d, strict=True):
            weight.grad = torch.tensor(np.asarray(each))
        self.optimizer.step()
        return [weight.detach().numpy().copy() for weight in self.weights]


def adamw(matrices, others, lr):
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=lr, betas=(0.8, 0.99), foreach=False, fused=False)


def lamb(matrices, others, lr):
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    return Lamb(groups, lr=lr, betas=(0.8, 0.99), max_grad_norm=None)


@pytest.mark.parametrize(
    "document",
    [
        {"name": "none"},
        {"name": "sam", "rho": 0.1},
        {"name": "looksam", "rho": 0.1, "alpha": 0.3},
        {"name": "looksam", "rho": 0.1, "alpha": "auto", "scope": "per_tensor"},
        {"name": "layersam", "rho": 0.1},
        {"name": "look_layersam", "rho": 0.1, "alpha": "fresh_ratio"},
    ],
    ids=words,
)
@pytest.mark.parametrize(
    ("spec", "make"),
    [
        (AdamW(name="adamw", lr=0.01, betas=(0.8, 0.99), weight_decay=0.1), adamw),
        (LAMB(name="lamb", lr=0.02, betas=(0.8, 0.99), weight_decay=0.1), lamb),
    ],
    ids=["adamw", "lamb"],
)
def test_the_base_optimizer_is_the_librarys_fed_d_by_hand(objective, document, spec, make):
    """d from the NumPy reference, fifty steps of it."""

    def losses_at(t: int):
        return [lambda w: NETWORK.loss_and_gradient(w, *batch(t))]

    theirs = train(Reference(document), NETWORK.start(), losses_at, lambda t: spec.lr, FedByHand(make), 50)
    ours = trained(objective, document, NETWORK.start(), one_batch, 50, optimizer=spec)
    for t, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        # The bar of the fifty steps: fused kernels order a few products differently.
        assert size(joined(a.weights) - joined(b.weights)) <= 1e-9 * size(joined(b.weights)), f"step {t}"


@pytest.mark.parametrize(("schedule", "shares"), [("constant", [1.0] * 8), ("linear", [1 - t / 8 for t in range(8)])])
def test_a_run_hands_the_scheduled_rho_to_every_ascent(run, small_spec, monkeypatch, schedule, shares):
    ascent, seen = looksam.ascent, []

    def watched(*arguments, rho: float, **options):
        seen.append(rho)
        return ascent(*arguments, rho=rho, **options)

    monkeypatch.setattr(looksam, "ascent", watched)
    method = {"name": "sam", "rho": 0.2, "k": 2, "rho_schedule": "learning_rate"}
    run(small_spec(method=method, steps=8, schedule={"name": schedule}))
    assert seen == pytest.approx([0.2 * share for share in shares[::2]], rel=1e-15)  # one product each
