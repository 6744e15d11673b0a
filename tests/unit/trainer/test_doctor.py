"""The SAM doctor: silent praise where all holds, one warning with a remedy for each thing that does not."""

from __future__ import annotations

import pytest
import torch

from trainer import looksam, perturbation, randomness
from trainer.contract.methods import SAM, LookSAM, NoMethod
from trainer.step import is_refresh, planned_refreshes

METHODS = [
    {"name": "sam"},
    {"name": "looksam", "k": 2},
    {"name": "looksam", "k": 2, "perturbation": "per_microbatch"},
    {"name": "layersam", "rho": 0.02, "layerwise": "literal"},
    *({"name": "look_layersam", "rho": 0.02, "k": 2, "layerwise": rule} for rule in ("trust", "unit", "asam_dual")),
    {"name": "look_layersam", "rho": 0.02, "k": 2, "one_dimensional": "excluded"},
]


def codes(run) -> list[str]:
    return [code for code, _, _ in run.recorder.doctor]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: f"{method['name']}-{list(method.values())[-1]}")
@pytest.mark.parametrize("model", ["vit", "test_resnet"])
def test_a_right_run_is_told_so(run, small_spec, method, model):
    changes = {"model": {"name": model}} if model == "test_resnet" else {}
    done = run(small_spec(**changes, method=method, micro_batch_size=16))
    assert codes(done) == ["sam_doctor", "sam_doctor_calendar"]
    text = done.recorder.doctor[0][1]
    expected = {"vit": "4 of 4", "test_resnet": "5 of 5"}[model]  # size, restore, passes, masks; and statistics
    assert f"{expected} checks hold" in text
    assert "2 + 2 passes of a worker" in text


def test_the_base_optimizer_has_no_doctor(run, small_spec):
    assert codes(run(small_spec())) == []


def test_few_refreshes_are_told_at_the_end(run, small_spec):
    done = run(small_spec(steps=4, method={"name": "looksam", "k": 3}))
    assert codes(done) == ["sam_doctor", "sam_doctor_calendar"]
    assert "2 of 4 steps took a second gradient; the calendar has 2." in done.recorder.doctor[1][1]


class TestWarnings:
    """Each thing is made wrong on purpose; the training goes on, and it is said once."""

    def warned(self, done) -> list[str]:
        return [code.removeprefix("sam_doctor_warns_") for code in codes(done) if "warns" in code]

    def test_a_wrong_size(self, run, small_spec, monkeypatch):
        right = looksam.ascent
        monkeypatch.setattr(looksam, "ascent", lambda *a, **o: [scale * 1.01 for scale in right(*a, **o)])
        assert self.warned(run(small_spec(method={"name": "sam"}))) == ["size"]

    def test_weights_that_do_not_come_back(self, run, small_spec, monkeypatch):
        def subtracting(weights, saved):
            with torch.no_grad():
                for weight, before in zip(weights, saved, strict=True):
                    weight.copy_(before + 1e-7)

        monkeypatch.setattr(looksam, "restore", subtracting)
        assert self.warned(run(small_spec(method={"name": "sam"}))) == ["restore"]

    def test_other_masks(self, run, small_spec, monkeypatch):
        numbers = iter(range(10**6))
        monkeypatch.setattr(randomness, "seed_masks", lambda *where: torch.manual_seed(next(numbers)))
        assert self.warned(run(small_spec(method={"name": "sam"}))) == ["masks"]

    def test_statistics_updated_twice(self, run, small_spec, monkeypatch):
        from contextlib import nullcontext

        monkeypatch.setattr(perturbation, "_kept", lambda buffers: nullcontext())
        assert self.warned(run(small_spec(model={"name": "test_resnet"}, method={"name": "sam"}))) == ["statistics"]

    def test_an_ascent_that_bf16_rounds_away(self, run, small_spec):
        method = {"name": "sam", "rho": 0.001}
        done = run(small_spec(precision="bf16", method=method))
        assert self.warned(done) == ["precision"]
        assert "`ascent_precision`" in next(text for code, text, _ in done.recorder.doctor if "precision" in code)
        assert self.warned(run(small_spec(precision="bf16", ascent_precision="fp32", method=method))) == []


@pytest.mark.parametrize("method", [
    NoMethod(), SAM(name="sam"), SAM(name="sam", k=7), LookSAM(name="looksam", k=5, start_step=3),
    LookSAM(name="looksam", k=5, start_step=3, stop_step=14), SAM(name="sam", start_step=90),
])  # fmt: skip
@pytest.mark.parametrize("total", [1, 13, 14, 20])
def test_the_calendar_is_counted_right(method, total):
    assert planned_refreshes(method, total) == sum(is_refresh(method, step) for step in range(total))
