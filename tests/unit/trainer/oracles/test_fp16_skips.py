"""M10 in one process: what a number that is not finite does to a step whose loss scale moves (rule 5).

On one rank of two it is in tests/integration/training/test_two_workers.py.

Inf in pass 1: the step is skipped, the stored direction stays. Inf in pass 2: its memory held g by then, so the
direction is invalid, and the next step is a refresh. Nothing else that a checkpoint holds may change either.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.unit.trainer.oracles.trained import method_of
from trainer import gradient, loss_scale
from trainer.contract.ends import EndReason
from trainer.errors import TrainerError
from trainer.loss_scale import LossScale

LOOKSAM = {"name": "looksam", "rho": 0.05, "k": 3}
METHODS = [
    LOOKSAM,
    {**LOOKSAM, "alpha": 0.5},
    {**LOOKSAM, "scope": "per_tensor"},
    {**LOOKSAM, "perturbation": "per_rank"},
    {"name": "look_layersam", "rho": 0.05, "k": 3, "layerwise": "literal"},
]
VALUES = [torch.inf, -torch.inf, torch.nan]


def words(document) -> str:
    return "-".join(str(value) for value in document.values())


class Scaled:
    """A quadratic in fp16's manner: steps until finite, each time with half the scale, as the loop does."""

    def __init__(self, random_quadratic, document: dict[str, Any]) -> None:
        self.problem, _ = random_quadratic()
        self.scale = self.problem.tensors.loss_scale
        self.scale.factor, self.scale.moves = 1024.0, True
        self.step = self.problem.step_of(method_of(document))
        self.passes_to_spoil: dict[int, float] = {}
        self.problem.after_pass = self._spoil

    def _spoil(self) -> None:
        value = self.passes_to_spoil.pop(self.problem.evaluations, None)
        if value is not None:
            self.problem.gradients[1][0] = value

    def advance(self, t: int) -> int:
        """One step that moves the weights; how often it was skipped before."""
        skipped = 0
        while not self.step(t, self.problem).finite:
            assert self.scale.skipped()
            skipped += 1
        torch._foreach_mul_(self.problem.gradients, 1 / self.scale.factor)
        self.problem.descend(0.02)
        self.scale.applied()
        return skipped

    def spoil_pass(self, which: int, value: float) -> None:
        """The 1st or 2nd pass from now."""
        self.passes_to_spoil[self.problem.evaluations + which] = value

    def kept(self) -> dict[str, Tensor]:
        state = self.problem.state
        numbers = {
            "alpha": state.alpha, "persistence": state.persistence, "weak_refreshes": state.weak_refreshes,
            "direction_exists": state.direction_exists, "weights": self.problem.weight_vector(),
        }  # fmt: skip
        return {name: value.clone() for name, value in numbers.items()}

    def direction(self) -> Tensor | None:
        direction = self.problem.state.direction
        return None if direction is None else torch.cat([part.reshape(-1) for part in direction])


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("value", VALUES)
@pytest.mark.parametrize("document", METHODS, ids=words)
class TestM10:
    def test_m10_inf_in_pass_1_of_a_refresh_leaves_the_stored_direction(self, random_quadratic, document, value):
        run = Scaled(random_quadratic, document)
        for t in range(6):
            run.advance(t)
        before, direction, passes = run.kept(), run.direction(), run.problem.evaluations
        run.spoil_pass(1, value)
        assert not run.step(6, run.problem).finite
        assert same(run.kept(), before)
        assert direction is not None
        if document.get("perturbation") == "global":
            assert run.problem.evaluations - passes == 1, "no second pass follows"
        assert run.direction() is not None
        assert torch.equal(run.direction(), direction)

    def test_m10_inf_in_pass_2_makes_it_invalid_and_the_next_step_a_refresh(self, random_quadratic, document, value):
        run = Scaled(random_quadratic, document)
        for t in range(6):
            run.advance(t)
        before = run.kept()
        run.spoil_pass(2, value)
        assert not run.step(6, run.problem).finite
        assert same(run.kept(), before), "weights back bit for bit; alpha, c and the counters as they were"
        assert run.direction() is None
        passes = run.problem.evaluations
        assert run.step(7, run.problem).finite, "a reuse by the calendar"
        assert run.problem.evaluations - passes == 2
        assert run.direction().norm() == pytest.approx(1.0 if "scope" not in document else math.sqrt(2), rel=1e-12)
        assert torch.equal(run.problem.state.persistence, before["persistence"]), "the old g_v is never compared with"

    def test_m10_inf_in_a_reuse_leaves_all_as_it_was(self, random_quadratic, document, value):
        run = Scaled(random_quadratic, document)
        for t in range(7):
            run.advance(t)
        before, direction = run.kept(), run.direction()
        run.spoil_pass(1, value)
        assert not run.step(7, run.problem).finite
        assert same(run.kept(), before)
        assert torch.equal(run.direction(), direction)

    def test_m10_skips_leave_no_trace_in_the_path(self, random_quadratic, document, value):
        """Three steps of ten are skipped once or twice; the rest is as if nothing had been, bit for bit."""
        smooth, rough = Scaled(random_quadratic, document), Scaled(random_quadratic, document)
        for t in range(10):
            if t in (0, 4, 7):
                rough.spoil_pass(1, value)
            if t == 7:
                rough.spoil_pass(2, value)
            assert (smooth.advance(t), rough.advance(t)) == (0, {0: 1, 4: 1, 7: 2}.get(t, 0))
            # The scale is a power of two, so half of it changes no bit.
            assert same(smooth.kept(), rough.kept())
        assert rough.scale.factor == 1024.0 / 16
        assert smooth.scale.factor == 1024.0


@pytest.mark.parametrize("which", [1, 2])
def test_m10_per_microbatch_has_overwritten_the_direction_either_way(random_quadratic, which):
    """Both passes are over before anything is known, so it is invalid and never read."""
    run = Scaled(random_quadratic, {**LOOKSAM, "perturbation": "per_microbatch"})
    for t in range(6):
        run.advance(t)
    before = run.kept()
    run.spoil_pass(which, torch.inf)
    assert not run.step(6, run.problem).finite
    assert same(run.kept(), before)
    assert run.direction() is None


class TestWholeRuns:
    """fp16 through the loop, with a gradient spoilt in a given pass over the batch."""

    @pytest.fixture
    def spoil(self, monkeypatch):
        forward_backward = gradient.BatchGradient.forward_backward
        passes: dict[str, Any] = {"seen": 0, "spoilt": set(), "perturbed": []}

        def watched(self, micro_batch, *, perturbed=False):
            forward_backward(self, micro_batch, perturbed=perturbed)
            passes["seen"] += 1
            passes["perturbed"].append(perturbed)
            if passes["seen"] in passes["spoilt"] or "always" in passes["spoilt"]:
                self.reduced.tensors[0].fill_(torch.inf)

        monkeypatch.setattr(gradient.BatchGradient, "forward_backward", watched)
        return passes

    @pytest.mark.parametrize(
        ("pass_spoilt", "expected"),
        [
            # A refresh at steps 0 and 3, five steps: pass 5 is the first of the refresh of step 3, pass 6 its second.
            (5, [False, True, False, False, False, False, True, False]),
            (6, [False, True, False, False, False, True, False, True, False]),
            (4, [False, True, False, False, False, False, True, False]),
        ],
    )
    def test_m10_the_step_is_taken_again_and_counted_once(self, run, small_spec, spoil, pass_spoilt, expected):
        spoil["spoilt"].add(pass_spoilt)
        result = run(small_spec(precision="fp16", method={"name": "looksam", "k": 3}, steps=5))
        assert spoil["perturbed"][: len(expected)] == expected
        assert result.outcome.step == 5
        assert result.outcome.gradient_evaluations == len(expected)
        assert all(value.isfinite().all() for value in result.weights.values())

    def test_m10_a_scale_that_cannot_fall_further_ends_the_run(self, run, small_spec, spoil):
        spoil["spoilt"].add("always")
        with pytest.raises(TrainerError, match="of step 1 was not finite") as caught:
            run(small_spec(precision="fp16", method={"name": "looksam"}, steps=5))
        assert caught.value.reason is EndReason.loss_not_finite
        assert spoil["seen"] == 1 + int(math.log2(loss_scale.START)), "65,536 down to 1, one pass each"


class TestLossScale:
    def test_only_fp16_moves(self):
        assert LossScale.of("fp16") == LossScale(factor=65_536.0, moves=True)
        assert all(LossScale.of(precision) == LossScale() for precision in ("fp32", "fp64", "bf16"))

    def test_doubles_after_two_thousand_good_steps_in_a_row_up_to_its_bound(self):
        scale = LossScale(factor=2.0**23, moves=True)
        for _ in range(1999):
            scale.applied()
        assert scale.skipped()
        assert (scale.factor, scale.good_steps) == (2.0**22, 0)
        for _ in range(3 * 2000):
            scale.applied()
        assert scale.factor == 2.0**24

    def test_does_not_grow_where_it_does_not_move(self):
        scale = LossScale()
        for _ in range(4001):
            scale.applied()
        assert scale.factor == 1.0

    def test_halves_down_to_one_and_no_further(self):
        scale = LossScale(factor=2.0, moves=True)
        assert scale.skipped()
        assert scale.factor == 1.0
        assert not scale.skipped()
