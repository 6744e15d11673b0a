"""M9 in one process: fp16 with its scaler at each phase, another dtype, and that the comparison sees everything.

Whole runs of every method, on one worker and two, are in tests/integration/training/test_every_phase.py.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch

from tests.unit.trainer.oracles.saved import differences, state_of
from trainer import checkpoint, loss_scale
from trainer.contract.ends import EndReason
from trainer.errors import TrainerError

K = 3
LOOKSAM = {"name": "looksam", "rho": 0.1, "k": K}
STEPS = 12
EVERY_STEP = {"every_steps": 1, "keep": STEPS}


@pytest.mark.parametrize("perturbation", ["global", "per_microbatch"])
def test_m9_fp16_goes_on_at_every_phase_with_its_scaler(run, small_spec, monkeypatch, perturbation):
    """The scale is found too high at first, and doubles after two good steps: it moves before and after each resume."""
    monkeypatch.setattr(loss_scale, "START", 2.0**24)
    monkeypatch.setattr(loss_scale, "GROWTH_STEPS", 2)
    spec = small_spec(
        precision="fp16", method={**LOOKSAM, "perturbation": perturbation}, steps=STEPS, checkpoint=EVERY_STEP,
        micro_batch_size=16,
    )  # fmt: skip
    whole = run(spec)
    scales = [state_of(whole.folder, step)["loss_scale"] for step in range(1, STEPS + 1)]
    factors = [scale["factor"] for scale in scales]
    assert len(set(factors[5:])) > 1, "it moves after the resumes, too"
    assert {scale["good_steps"] for scale in scales} == {0, 1}
    assert whole.outcome.gradient_evaluations > STEPS + STEPS // K, "steps were skipped"
    for done in range(5, 5 + K):
        again = run(spec, resume=[checkpoint.folder_of(whole.folder, done)])
        assert again.recorder.steps[0] == done
        assert differences(state_of(again.folder, STEPS), state_of(whole.folder, STEPS)) == []


@pytest.mark.parametrize(("then", "now"), [("fp64", "fp32"), ("fp32", "fp64"), ("fp32", "bf16"), ("fp16", "fp32")])
def test_m9_another_precision_is_refused(run, small_spec, then, now):
    """It would be other training, so nothing is cast: neither moments nor the stored direction."""
    whole = run(small_spec(method=LOOKSAM, precision=then, steps=2))
    with pytest.raises(TrainerError, match=f"precision is '{now}', but .* was trained with '{then}'") as caught:
        run(small_spec(method=LOOKSAM, precision=now, steps=2), resume=[checkpoint.folder_of(whole.folder, 2)])
    assert caught.value.reason is EndReason.spec_rejected_by_trainer


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [("fp64", torch.float64), ("fp32", torch.float32), ("bf16", torch.float32), ("fp16", torch.float32)],
)
def test_m9_a_resume_casts_nothing(run, small_spec, precision, dtype):
    """torch's own load would cast state to the weights' dtype: alpha and c are float64 beside float32 weights."""
    spec = small_spec(method=LOOKSAM, precision=precision, steps=5, checkpoint=EVERY_STEP)
    whole = run(spec)
    state = state_of(run(spec, resume=[checkpoint.folder_of(whole.folder, 4)]).folder, 5)
    assert {weight.dtype for weight in state["model"].values()} == {dtype}
    assert {part.dtype for part in state["direction"]} == {dtype}
    moments = [moment for of_weight in state["optimizer"]["state"].values() for moment in of_weight.values()]
    assert {moment.dtype for moment in moments if moment.ndim} == {dtype}
    assert {state["method"][name].dtype for name in ("alpha", "persistence")} == {torch.float64}


def test_m9_without_the_direction_the_next_step_refreshes(run, small_spec, tmp_path):
    spec = small_spec(method=LOOKSAM, steps=STEPS, checkpoint=EVERY_STEP)
    whole = run(spec)
    saved = replace(whole.saved(4), direction=None)
    path, _ = checkpoint.save(saved, tmp_path / "without", before_rename=lambda step, folder: None)
    again = run(spec, resume=[path])
    # 4 steps with refreshes at 0 and 3; then 8 with the forced one at 4 and those of the calendar at 6 and 9.
    assert again.outcome.gradient_evaluations == 4 + 2 + 8 + 3
    assert whole.outcome.gradient_evaluations == 12 + 4


CHANGES: dict[str, Any] = {
    "a moment": lambda state: next(iter(state["optimizer"]["state"].values()))["exp_avg"].view(-1)[0].add_(1.0),
    "alpha": lambda state: state["method"].update(alpha=state["method"]["alpha"] + 1e-15),
    "c": lambda state: state["method"].update(persistence=state["method"]["persistence"] + 1e-15),
    "the average": lambda state: next(iter(state["average"].values())).view(-1)[0].add_(1e-6),
    "the direction's last number": lambda state: state["direction"][-1].view(-1)[-1].add_(1e-6),
    "no direction": lambda state: state.update(direction=None),
    "good steps": lambda state: state["loss_scale"].update(good_steps=99),
    "evaluations": lambda state: state.update(gradient_evaluations=0),
    "a rate": lambda state: state["optimizer"]["param_groups"][0].update(lr=1.0),
}


def test_m9_the_comparison_sees_each_part(run, small_spec):
    state = state_of(run(small_spec(method=LOOKSAM, ema_decay=0.9, steps=5)).folder, 5)
    assert differences(state, copy.deepcopy(state)) == []
    assert differences(state, {**state, "seconds": 0.0, "cpu_seconds": 0.0}) == []
    for name, change in CHANGES.items():
        other = copy.deepcopy(state)
        change(other)
        assert differences(state, other) != [], name
