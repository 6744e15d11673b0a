"""Changes that must not matter, or must: M1 layer-wise and under AdamW, M2, M3, M4 per tensor, M6.

M1, M4 and M5 of the global methods are in test_looksam.py of the folder above.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.unit.trainer.oracles.network import Arrays, Network, batch, joined, size
from tests.unit.trainer.oracles.reference import Momentum
from tests.unit.trainer.oracles.test_fifty_steps import STEPS, assert_agree, expected
from tests.unit.trainer.oracles.trained import method_of, network_loss, trained
from trainer.contract.optimizers import SGD, AdamW

NETWORK = Network()
RULES = ["trust", "literal", "unit", "asam_dual"]
LOOKSAM = {"name": "looksam", "rho": 0.1, "k": 3}
METHODS = [
    {"name": "none"},
    {"name": "sam", "rho": 0.1},
    {**LOOKSAM, "alpha": 0.3},
    {**LOOKSAM, "alpha": "auto"},
    {**LOOKSAM, "alpha": "fresh_ratio"},
]
PER_TENSOR = [{**method, "scope": "per_tensor"} for method in METHODS[2:]]
LAYERWISE = [{"name": "look_layersam", "rho": 0.1, "k": 3, "alpha": 0.3, "layerwise": rule} for rule in RULES]


def words(document) -> str:
    return "-".join(str(value) for value in document.values())


def one_batch(t: int):
    return [batch(t)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("rule", RULES)
def test_m1_a_loss_times_1024_trains_the_same_unless_literal(objective, rule, momentum, dtype):
    method = {"name": "look_layersam", "rho": 0.1, "layerwise": rule, "alpha": "fresh_ratio"}

    def path(factor: float) -> list[Arrays]:
        optimizer = SGD(name="sgd", lr=0.05 / factor, momentum=momentum)
        rows = trained(
            objective, method, NETWORK.start(), one_batch, 20, optimizer=optimizer, factor=factor, dtype=dtype
        )
        return [row.weights for row in rows]

    # Scaling by a power of two is exact in every operation, so no rounding differs where the rule is invariant.
    same = all(np.array_equal(joined(a), joined(b)) for a, b in zip(path(1.0), path(1024.0), strict=True))
    assert same == (rule != "literal")


@pytest.mark.parametrize("perturbation", ["global", "per_rank", "per_microbatch"])
@pytest.mark.parametrize("document", [METHODS[1], *PER_TENSOR], ids=words)
def test_m1_holds_per_tensor_and_wherever_the_ascent_is_taken(objective, document, perturbation):
    def end(factor: float) -> np.ndarray:
        return joined(
            trained(
                objective, {**document, "perturbation": perturbation}, NETWORK.start(),
                lambda t: [batch(t, m) for m in range(2)], 12, optimizer=SGD(name="sgd", lr=0.05 / factor),
                factor=factor,
            )[-1].weights
        )  # fmt: skip

    assert np.array_equal(end(1.0), end(1024.0))


@pytest.mark.parametrize("document", [*METHODS, *PER_TENSOR, *LAYERWISE], ids=words)
def test_m1_under_adamw_the_loss_times_1024_trains_nearly_the_same_unless_literal(objective, document):
    """Adam divides the mean of d by the root of its square plus eps, so that eps alone knows the size of the loss."""

    def end(factor: float, eps: float) -> np.ndarray:
        optimizer = AdamW(name="adamw", lr=0.01, eps=eps)
        rows = trained(objective, document, NETWORK.start(), one_batch, 20, optimizer=optimizer, factor=factor)
        return joined(rows[-1].weights)

    moved = size(end(1.0, 1e-8) - joined(NETWORK.start()))
    apart = {eps: size(end(1024.0, eps) - end(1.0, eps)) / moved for eps in (1e-8, 1e-10)}
    if document.get("layerwise") == "literal":
        assert min(apart.values()) > 1e-3
    else:
        # eps over a typical |d| of 1e-2 is 1e-6 of a step, and over the smallest elements, near 1e-4, a hundred times
        # that. What differs is eps, so a hundredth of it leaves a hundredth, within a factor of two.
        assert 0 < apart[1e-8] < 1e-4
        assert 50 < apart[1e-8] / apart[1e-10] < 200


@pytest.mark.parametrize("document", [*METHODS, *PER_TENSOR, *LAYERWISE], ids=words)
@pytest.mark.parametrize("optimizer", [SGD(name="sgd", lr=0.05, weight_decay=0.1), AdamW(name="adamw", lr=0.01)])
def test_m2_the_order_of_the_parameters_does_not_matter(objective, document, optimizer):
    """With it changes which come first in the optimizer's groups."""
    order = [4, 6, 1, 0, 5, 3, 2]
    start = NETWORK.start()
    back = np.argsort(order)

    def shuffled(weights: Sequence[Tensor], x: Tensor, labels: Tensor) -> Tensor:
        return network_loss(NETWORK, [weights[i] for i in back], x, labels)

    straight = trained(objective, document, start, one_batch, 30, optimizer=optimizer)[-1].weights
    other = trained(
        objective, document, [start[i] for i in order], one_batch, 30, optimizer=optimizer, loss=shuffled
    )[-1].weights  # fmt: skip
    # Only the order of the sums in norms differs. AdamW's first steps divide by gradients, small ones too.
    tolerance = 1e-12 if optimizer.name == "sgd" else 1e-10
    for i, weight in enumerate(straight):
        assert size(other[back[i]] - weight) <= tolerance * size(weight)


class TestM3:
    """w -> Qw: the loss sees Q'w. Norms and inner products over all weights do not notice; those of tensors do."""

    @staticmethod
    def end(objective, document, rotation: Tensor, sizes: Sequence[int]) -> Tensor:
        generator = torch.Generator().manual_seed(11)
        a, b, w = (torch.randn(shape, dtype=torch.float64, generator=generator) for shape in [(8, 6), (8,), (6,)])

        def loss(weights: Sequence[Tensor]) -> Tensor:
            v = rotation.T @ torch.cat([part.reshape(-1) for part in weights])
            return (a @ v - b).tanh().square().sum() + 0.05 * (v**4).sum()

        # As rows of matrices: to vectors the layer-wise rules give trust 1, which makes two of them SAM.
        problem = objective([part.reshape(1, -1) for part in (rotation @ w).split(list(sizes))], loss)
        step = problem.step_of(method_of(document))
        for t in range(30):
            step(t, problem)
            problem.descend(0.02)
        return rotation.T @ problem.weight_vector()

    @staticmethod
    def rotation() -> Tensor:
        generator = torch.Generator().manual_seed(12)
        return torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64, generator=generator))[0]

    @pytest.mark.parametrize("document", METHODS, ids=words)
    def test_m3_rotation_equivariance(self, objective, document):
        straight = self.end(objective, document, torch.eye(6, dtype=torch.float64), (1, 2, 3))
        rotated = self.end(objective, document, self.rotation(), (1, 2, 3))
        # Q'Q is the identity to 1e-15, and thirty steps add a few roundings each.
        assert (rotated - straight).norm() <= 1e-12 * straight.norm()

    @pytest.mark.parametrize("document", [*PER_TENSOR, *LAYERWISE], ids=words)
    def test_m3_tells_methods_that_look_at_tensors(self, objective, document):
        straight = self.end(objective, document, torch.eye(6, dtype=torch.float64), (1, 2, 3))
        rotated = self.end(objective, document, self.rotation(), (1, 2, 3))
        assert (rotated - straight).norm() > 1e-6 * straight.norm()


class TestM4PerTensor:
    @staticmethod
    def end(random_quadratic, sizes, scope: str, alpha) -> Tensor:
        problem, _ = random_quadratic(sizes)
        step = problem.step_of(method_of({"name": "looksam", "rho": 0.05, "k": 3, "alpha": alpha, "scope": scope}))
        for t in range(30):
            step(t, problem)
            problem.descend(0.02)
        return problem.weight_vector()

    @pytest.mark.parametrize("alpha", [0.5, "auto", "fresh_ratio"])
    def test_m4_how_the_vector_is_cut_matters_per_tensor(self, random_quadratic, alpha):
        ends = [self.end(random_quadratic, sizes, "per_tensor", alpha) for sizes in [(6,), (3, 3), (1, 2, 3)]]
        # Found: 0.003 or more. "Global" differs by less than 1e-12 there.
        assert all((a - b).norm() > 1e-4 for a, b in [*pairwise(ends), (ends[0], ends[2])])

    @pytest.mark.parametrize("alpha", [0.5, "auto", "fresh_ratio"])
    def test_m4_one_tensor_alone_is_global(self, random_quadratic, alpha):
        # The same numbers, as a vector of one entry instead of one of none: the same bits.
        assert torch.equal(*(self.end(random_quadratic, (6,), scope, alpha) for scope in ("global", "per_tensor")))

    @pytest.mark.parametrize("alpha", [0.5, "auto", "fresh_ratio"])
    def test_m4_tensors_of_one_element_have_nothing_orthogonal(self, random_quadratic, alpha):
        """Cut into six, reuse is the base step: SAM every k, bit for bit."""
        problem, _ = random_quadratic((1,) * 6)
        step = problem.step_of(method_of({"name": "sam", "rho": 0.05, "k": 3}))
        for t in range(30):
            step(t, problem)
            problem.descend(0.02)
        assert torch.equal(self.end(random_quadratic, (1,) * 6, "per_tensor", alpha), problem.weight_vector())


class Layers(nn.ParameterList):
    """The network's tensors as a model that says, as timm's do, which layer each belongs to."""

    def group_matcher(self, *, coarse: bool):
        """Matrix and bias of each layer; the gain belongs to the last."""
        return lambda name: min(int(name) // 2, len(NETWORK.widths) - 2)


class TestM6:
    """What the product has of it: groups of the base optimizer with their own weight decay and, under `layer_decay`,
    their own learning rate. rho is one for all."""

    @pytest.mark.parametrize("document", [*METHODS, PER_TENSOR[1], *LAYERWISE], ids=words)
    def test_m6_groups_with_their_own_learning_rate(self, objective, document):
        """As the groups fed by hand: d by the NumPy reference over all tensors at once, each with its own rate."""
        start, shares = NETWORK.start(), [0.7**layers for layers in (2, 2, 1, 1, 0, 0, 0)]
        assert len(Layers(map(torch.from_numpy, start))) == len(shares)
        ours = trained(
            objective, document, start, one_batch, STEPS, model=Layers(map(torch.from_numpy, start)),
            optimizer=SGD(name="sgd", lr=0.05, weight_decay=0.1, layer_decay=0.7),
        )  # fmt: skip
        by_hand = Momentum(weight_decay=0.1, lr_shares=shares)
        assert_agree(ours, expected(document, start, one_batch, base=by_hand))
        even = expected(document, start, one_batch, base=Momentum(weight_decay=0.1))
        assert size(joined(ours[-1].weights) - joined(even[-1].weights)) > 0.01, "the rates matter"

    @pytest.mark.parametrize("document", [*METHODS, *PER_TENSOR, *LAYERWISE], ids=words)
    def test_m6_groups_with_their_own_weight_decay(self, objective, document):
        start, lr, decay = NETWORK.start(), 0.05, 0.3
        train = partial(trained, objective, document, start, one_batch, 1)
        plain = train(optimizer=SGD(name="sgd", lr=lr, momentum=0.0))[0]
        decayed = train(optimizer=SGD(name="sgd", lr=lr, momentum=0.0, weight_decay=decay))[0]
        assert np.array_equal(joined(plain.direction), joined(decayed.direction)), "decay is in neither loss"
        for w, d, a, b in zip(start, plain.direction, plain.weights, decayed.weights, strict=True):
            # One rounding each of a product and a sum near 1.
            np.testing.assert_allclose(a, w - lr * d, rtol=0, atol=1e-15)
            np.testing.assert_allclose(b, w - lr * (d + (decay * w if w.ndim > 1 else 0)), rtol=0, atol=1e-15)

    def test_m6_decoupled_decay_of_adamw_is_by_group_too(self, objective):
        start, lr, decay = NETWORK.start(), 0.01, 0.3
        train = partial(trained, objective, {**LOOKSAM, "alpha": 0.3}, start, one_batch, 1)
        plain = train(optimizer=AdamW(name="adamw", lr=lr, weight_decay=0.0))[0]
        decayed = train(optimizer=AdamW(name="adamw", lr=lr, weight_decay=decay))[0]
        for w, a, b in zip(start, plain.weights, decayed.weights, strict=True):
            np.testing.assert_allclose(a - b, lr * decay * w if w.ndim > 1 else 0 * w, rtol=0, atol=1e-15)
