"""The SAM doctor: silent praise where all holds, one warning with a remedy for each thing that does not."""

from __future__ import annotations

import pytest
import torch

from tests.unit.trainer.test_step import spoil_passes
from trainer import checkpoint, layerwise, looksam, perturbation, randomness
from trainer.contract.methods import SAM, LookSAM, NoMethod
from trainer.doctor import Doctor, digest_of
from trainer.parallel import World
from trainer.passes import Tensors
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


class TestRefreshesTakenAgain:
    """In fp16 a refresh may take several tries, and is one refresh."""

    @pytest.mark.parametrize("spoilt", [{1}, {2}, {5}, {6}, {5, 6}])
    def test_they_count_once(self, run, small_spec, monkeypatch, spoilt):
        spoil_passes(monkeypatch, spoilt)
        done = run(small_spec(precision="fp16", ascent_precision="fp32", method={"name": "sam"}, steps=5))
        assert done.outcome.gradient_evaluations > 5 + 5
        assert codes(done) == ["sam_doctor", "sam_doctor_calendar"]
        assert [step for _, _, step in done.recorder.doctor] == [3, 5]
        assert done.recorder.doctor[0][1].startswith("Refresh 3 of this attempt: 4 of 4 checks hold")
        assert done.recorder.doctor[1][1] == "5 of 5 steps took a second gradient; the calendar has 5."

    def test_reuse_steps_taken_again_are_none(self, run, small_spec, monkeypatch):
        spoil_passes(monkeypatch, {3})
        done = run(small_spec(precision="fp16", ascent_precision="fp32", method={"name": "looksam", "k": 3}, steps=5))
        assert done.recorder.doctor[-1][1] == "2 of 5 steps took a second gradient; the calendar has 2."


class TestResume:
    @pytest.mark.parametrize("is_old", [False, True])
    def test_refreshes_before_it_are_counted(self, run, small_spec, tmp_path, is_old):
        spec = small_spec(method={"name": "looksam", "k": 4})
        asked = iter(range(100))
        part = run(spec, stop=lambda: next(asked) == 5)
        path = checkpoint.folder_of(part.folder, 6)
        if is_old:
            document = torch.load(path / "state.pt", weights_only=True)
            del document["refreshes"]
            saved = checkpoint.Saved(**document)
            path, _ = checkpoint.save(saved, tmp_path / "old", before_rename=lambda step, folder: None)
        rest = run(spec, folder=part.folder, resume=[path])
        assert rest.recorder.doctor[-1][1] == "3 of 12 steps took a second gradient; the calendar has 3."


def test_a_matrix_of_norm_one_is_scaled_by_literal_like_any_other(small_spec):
    """Its trust is 1 by its size, not by the rule for biases and zeros: the loss scale matters to it."""
    weights = [torch.full((2, 2), 0.5), torch.ones(3), torch.zeros(2, 2)]
    gradients = [torch.full_like(weight, 0.25) for weight in weights]
    tensors = Tensors(weights=weights, gradients=gradients, buffers=[])
    method = {"name": "layersam", "rho": 0.02, "layerwise": "literal"}
    doctor = Doctor(small_spec(method=method), World.single(), tensors, 1)
    norms = looksam.norms(gradients)
    scales = layerwise.ascent(
        weights, gradients, norms, rho=0.02, rule="literal", exclude_one_dimensional=False, loss_scale=8.0
    )
    expected = doctor._expected_norms(weights, norms, 0.02, 8.0)
    # The scales are rounded to float32.
    torch.testing.assert_close(expected, torch.stack(scales) * norms, rtol=1e-6, atol=0)


class TestDigest:
    """What tells replicas that have drifted."""

    @pytest.fixture
    def weights(self):
        generator = torch.Generator().manual_seed(0)
        return [torch.randn(shape, generator=generator) for shape in [(8, 8), (8, 8), (5,)]]

    def test_equal_bits_give_equal_numbers(self, weights):
        assert digest_of(weights) == digest_of([weight.clone() for weight in weights])

    def test_other_bits_or_another_order_give_others(self, weights):
        a, b, c = weights
        moved = a.clone()
        moved[0, 0] = moved[0, 0].nextafter(torch.tensor(9.0))
        others = [[moved, b, c], [b, a, c], [a.T.contiguous(), b, c], [a, b, c.flip(0)], [-a, b, c]]
        assert len({digest_of(each).item() for each in [weights, *others]}) == 1 + len(others)

    def test_large_tensors_and_both_precisions_stay_in_range(self):
        for dtype in (torch.float32, torch.float64):
            found = digest_of([torch.full((100_000,), -torch.nan, dtype=dtype)]).item()
            assert 0 <= found < 2**31


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

        monkeypatch.setattr(perturbation, "kept", lambda buffers: nullcontext())
        done = run(small_spec(model={"name": "test_resnet"}, method={"name": "sam"}, micro_batch_size=16))
        assert self.warned(done) == ["statistics"]
        assert "were updated 2 times a micro-batch" in done.recorder.doctor[0][1]

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
