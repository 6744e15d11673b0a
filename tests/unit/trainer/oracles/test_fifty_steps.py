"""Every method and rule against the NumPy reference: fifty float64 steps on the small tanh network.

Compared at every step: weights, d, alpha, c, the number of gradient evaluations and every signal. The same section of a
spec goes to both sides; the trainer validates it, the reference reads it with the defaults of its own.
"""

from __future__ import annotations

import math
from collections.abc import Set
from itertools import combinations, product
from typing import Any

import numpy as np
import pytest

from tests.unit.trainer.oracles.network import Network, batch, joined, size
from tests.unit.trainer.oracles.reference import Momentum, Reference, Row, train
from tests.unit.trainer.oracles.trained import trained
from trainer.contract.optimizers import SGD
from trainer.contract.spec import Schedule
from trainer.optimizer import learning_rate

STEPS, LR = 50, 0.05
NETWORK = Network()
RULES = ["trust", "literal", "unit", "asam_dual"]
ALPHAS: list[Any] = [0.4, "auto", "fresh_ratio"]
SCOPES = ["global", "per_tensor"]
ONE_DIMENSIONAL = ["unscaled", "excluded"]

SAM = [{"name": "sam", "rho": 0.1}, {"name": "sam", "rho": 0.1, "k": 5}]
LOOKSAM = [{"name": "looksam", "rho": 0.1, "alpha": a, "scope": s} for a, s in product(ALPHAS, SCOPES)]
LAYERSAM = [
    {"name": "layersam", "rho": 0.1, "layerwise": rule, "k": k, "one_dimensional": axis}
    for rule, k, axis in product(RULES, (1, 5), ONE_DIMENSIONAL)
]
LOOK_LAYERSAM = [
    {"name": "look_layersam", "rho": 0.1, "layerwise": rule, "alpha": a, "scope": s, "one_dimensional": axis}
    for rule, a, (s, axis) in product(
        RULES, ALPHAS, [*product(["global"], ONE_DIMENSIONAL), ("per_tensor", "unscaled")]
    )
]
EVERY = [{"name": "none"}, *SAM, *LOOKSAM, *LAYERSAM, *LOOK_LAYERSAM]

# Some of each kind, for what concerns all methods alike.
KINDS = [SAM[1], *LOOKSAM[1:4], LAYERSAM[0]]
KINDS += [{"name": "look_layersam", "rho": 0.1, "layerwise": rule} for rule in RULES]
DEFAULTS = [{"name": "sam"}, {"name": "looksam"}, *({"name": n, "rho": 0.1} for n in ("layersam", "look_layersam"))]


def words(document: dict[str, Any]) -> str:
    return "-".join(str(value) for value in document.values())


def expected(document, start, batches, *, lr=lambda t: LR, base=None, rho=None) -> list[Row]:
    def losses_at(t: int):
        return [lambda w, part=part: NETWORK.loss_and_gradient(w, *part) for part in batches(t)]

    return train(Reference(document, rho), start, losses_at, lr, base or Momentum(), STEPS)


OF_G = {"grad_norm", "gradient_cosine", "orthogonal_ratio", "directional_curvature"}
"""What SAM with ascents of each micro-batch leaves untold at a refresh, since it sums no g."""
OF_ONE_EPS = {"directional_curvature"}
"""What layer-wise ascents of each micro-batch leave untold there, since each eps has a length of its own."""
MEANS_PER_TENSOR = {"alpha", "reuse_amplification"}
"""Per tensor these are means that the page does not define, so the reference has none."""


def assert_agree(ours: list[Row], theirs: list[Row], *, untold: Set[str] = frozenset()) -> None:
    """To 1e-9 of each vector's norm: the bar that was set. The operations differ in their order alone; found: at most
    5e-15 for the weights, 4e-13 for d, 3e-14 for alpha and c, 3e-12 for the signals."""
    assert len(ours) == len(theirs) == STEPS
    for t, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        for name in ("weights", "direction"):
            x, y = joined(getattr(a, name)), joined(getattr(b, name))
            assert size(x - y) <= 1e-9 * size(y), f"{name} of step {t}"
        np.testing.assert_allclose(a.alpha, b.alpha, rtol=1e-9, atol=0, err_msg=f"alpha of step {t}")
        np.testing.assert_allclose(a.persistence, b.persistence, rtol=1e-9, atol=0, err_msg=f"c of step {t}")
        assert a.evaluations == b.evaluations
        is_refresh = "loss_rise" in b.signals
        assert_signals_agree(a.signals, b.signals, untold=untold if is_refresh else frozenset(), step=t)


def assert_signals_agree(ours: dict[str, float], theirs: dict[str, float], *, untold: Set[str], step: int) -> None:
    """Every signal that the reference has, except the `untold`, is there with its value, and no other is.

    NaN says that there is none, as the loop reads it: so a NaN where the reference has a number is one that is missing.
    """
    told = {name: value for name, value in ours.items() if not math.isnan(value)}
    assert theirs.keys() - told.keys() == untold, f"untold in step {step}"
    assert told.keys() - theirs.keys() <= MEANS_PER_TENSOR, f"not in the reference in step {step}"
    for name in told.keys() & theirs.keys():
        # The loss rise is a small difference of two losses near 1, and keeps their absolute error.
        assert told[name] == pytest.approx(theirs[name], rel=1e-9, abs=1e-12), f"{name} of step {step}"


def one_batch(t: int):
    return [batch(t)]


@pytest.mark.parametrize("document", [*EVERY, *DEFAULTS], ids=words)
def test_every_method_and_rule(objective, document):
    start = NETWORK.start()
    assert_agree(trained(objective, document, start, one_batch, STEPS), expected(document, start, one_batch))


@pytest.mark.parametrize("document", [*LOOKSAM, *LAYERSAM[::4], *LAYERSAM[1::4], *LOOK_LAYERSAM], ids=words)
def test_a_fresh_head_of_zeros(objective, document):
    """Its norm is 0, so trust is 1; and at the first step the gradient of all tensors before it is 0."""
    start = NETWORK.start(fresh_head=True)
    assert_agree(trained(objective, document, start, one_batch, STEPS), expected(document, start, one_batch))


def test_no_two_of_them_are_the_same_algorithm():
    """What the agreement is worth: each pair ends a thousand bars apart or more."""
    start = NETWORK.start()
    ends = {words(m): joined(expected(m, start, one_batch)[-1].weights) for m in EVERY}
    pairs = combinations(ends, 2)
    assert not [(a, b) for a, b in pairs if size(ends[a] - ends[b]) <= 1e-6 * size(ends[a])]


@pytest.mark.parametrize(
    ("noise", "rho", "ratio_exceeds_one"),
    [
        pytest.param(0.1, 0.1, False, id="directions persist"),
        pytest.param(2.0, 0.1, False, id="noisy batches"),
        pytest.param(0.1, 3.0, True, id="large rho"),  # ||g_v|| > ||g||: the min(1, ...) of the rule decides
    ],
)
@pytest.mark.parametrize("scope", SCOPES)
def test_auto_where_directions_persist_and_where_they_do_not(objective, scope, noise, rho, ratio_exceeds_one):
    document = {"name": "looksam", "rho": rho, "scope": scope}
    start = NETWORK.start()
    ours = trained(objective, document, start, lambda t: [batch(t, noise=noise)], STEPS)
    theirs = expected(document, start, lambda t: [batch(t, noise=noise)])
    assert_agree(ours, theirs)
    ratios = [row.signals["orthogonal_ratio"] for row in theirs[5:] if "orthogonal_ratio" in row.signals]
    assert (max(ratios) > 1) == ratio_exceeds_one
    assert all(not row.alpha.any() for row in ours[:5]), "alpha is 0 until the second refresh"
    assert ours[-1].alpha.max() > 0, "and reuse was really exercised"


@pytest.mark.parametrize(
    "base",
    [
        {"momentum": 0.0},
        {"momentum": 0.9, "weight_decay": 0.1},
        {"momentum": 0.9, "weight_decay": 0.1, "nesterov": True},
    ],
    ids=["plain", "decay", "nesterov"],
)
@pytest.mark.parametrize("document", [EVERY[0], *KINDS], ids=words)
def test_sgd_by_hand_is_the_base(objective, document, base):
    start = NETWORK.start()
    ours = trained(objective, document, start, one_batch, STEPS, optimizer=SGD(name="sgd", lr=LR, **base))
    assert_agree(ours, expected(document, start, one_batch, base=Momentum(**base)))


@pytest.mark.parametrize("perturbation", ["global", "per_microbatch"])
@pytest.mark.parametrize("document", KINDS, ids=words)
def test_three_micro_batches(objective, document, perturbation):
    def batches(t: int):
        return [batch(t, m, noise=1.0) for m in range(3)]

    document, start = {**document, "perturbation": perturbation}, NETWORK.start()
    ours, theirs = trained(objective, document, start, batches, STEPS), expected(document, start, batches)
    assert_agree(ours, theirs, untold=untold_by(document))


@pytest.mark.parametrize(("start_step", "stop_step"), [(7, None), (0, 23), (3, 31)])
@pytest.mark.parametrize("document", KINDS, ids=words)
def test_start_and_stop(objective, document, start_step, stop_step):
    document, start = {**document, "start_step": start_step, "stop_step": stop_step}, NETWORK.start()
    theirs = expected(document, start, one_batch)
    assert_agree(trained(objective, document, start, one_batch, STEPS), theirs)
    refreshes = [t for t, row in enumerate(theirs) if "loss_rise" in row.signals]
    assert refreshes[0] == start_step, "the first active step is a refresh"
    assert refreshes[-1] < (stop_step or STEPS)


@pytest.mark.parametrize("document", KINDS, ids=words)
def test_rho_follows_the_learning_rate(objective, document):
    """With a warm-up of 8 steps and then a cosine to a tenth, written out here, against the schedule's own function."""

    def share(t: int) -> float:
        return (t + 1) / 8 if t < 8 else 0.1 + 0.9 * (1 + math.cos(math.pi * (t - 8) / (STEPS - 8))) / 2

    schedule = Schedule(name="cosine", warmup_steps=8, final_lr_fraction=0.1)
    document, start = {**document, "rho_schedule": "learning_rate"}, NETWORK.start()
    ours = trained(
        objective, document, start, one_batch, STEPS, lr=lambda t: learning_rate(schedule, LR, t, STEPS),
        rho=lambda t: document["rho"] * learning_rate(schedule, 1.0, t, STEPS),
    )  # fmt: skip
    theirs = expected(document, start, one_batch, lr=lambda t: LR * share(t), rho=lambda t: document["rho"] * share(t))
    assert_agree(ours, theirs)


@pytest.mark.parametrize("perturbation", ["global", "per_microbatch"])
@pytest.mark.parametrize("document", [*KINDS, LAYERSAM[4]], ids=words)
def test_a_loss_scale_is_taken_off_again(objective, document, perturbation):
    """Rule 5: gradients times 65,536 all through the step, `literal` dividing them by it, and d unscaled once."""

    def batches(t: int):
        return [batch(t, m) for m in range(2)]

    document, start = {**document, "perturbation": perturbation}, NETWORK.start()
    ours = trained(objective, document, start, batches, STEPS, loss_scale=65_536.0)
    assert_agree(ours, expected(document, start, batches), untold=untold_by(document))


def untold_by(document: dict[str, Any]) -> Set[str]:
    if document["perturbation"] == "global":
        return frozenset()
    if not document["name"].startswith("look"):  # its split needs g of the global batch
        return OF_G
    return OF_ONE_EPS if document["name"] == "look_layersam" else frozenset()


class TestTheComparison:
    """That it sees a signal which is missing, is NaN, is another or is one too many."""

    THEIRS = {"grad_norm": 2.0, "loss_rise": 0.1}  # noqa: RUF012 - only read

    @pytest.mark.parametrize(
        "ours",
        [
            {"grad_norm": 2.0},
            {"grad_norm": 2.0, "loss_rise": math.nan},
            {"grad_norm": 2.0, "loss_rise": 0.1 + 1e-9},
            {"grad_norm": 2.0, "loss_rise": 0.1, "direction_cosine": 1.0},
        ],
        ids=["missing", "NaN", "another", "one too many"],
    )
    def test_is_an_error(self, ours):
        with pytest.raises(AssertionError):
            assert_signals_agree(ours, self.THEIRS, untold=set(), step=0)

    def test_a_nan_where_the_reference_has_none_is_right(self):
        assert_signals_agree({**self.THEIRS, "direction_cosine": math.nan}, self.THEIRS, untold=set(), step=0)


class TestTheReferenceItself:
    """That it computes what it says: its gradient by differences, its Hessian by differences of the gradient."""

    @pytest.mark.parametrize("network", [Network(), Network((5, 4), has_gain=False)], ids=["tanh", "softmax"])
    def test_gradient_and_hessian_are_the_derivatives(self, network):
        w, (x, labels) = network.start(), batch(0)
        v = joined(w)
        direction = np.random.default_rng(5).normal(size=v.shape)
        h = 1e-6  # central differences: an error of about h^2 = 1e-12 plus 1e-16/h = 1e-10
        up, down = (network.loss_and_gradient(network.cut(v + s * direction), x, labels) for s in (h, -h))
        _, gradient = network.loss_and_gradient(w, x, labels)
        assert (up[0] - down[0]) / (2 * h) == pytest.approx(joined(gradient) @ direction, rel=1e-7)
        slope = (joined(up[1]) - joined(down[1])) / (2 * h)
        hessian = network.hessian(w, x, labels)
        assert size(slope - hessian @ direction) <= 1e-7 * size(slope)
        assert size(hessian - hessian.T) <= 1e-14 * size(hessian)  # symmetric to rounding, though it is not told to be

    def test_the_micro_batches_differ(self):
        assert not np.array_equal(batch(3, 0)[0], batch(3, 1)[0])
