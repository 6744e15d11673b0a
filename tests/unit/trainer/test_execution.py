"""How passes are executed: nothing of it changes what is trained, but for rounding."""

from __future__ import annotations

import shutil

import pytest
import torch

from trainer.errors import TrainerError
from trainer.loss_scale import GROWTH_STEPS, LossScale

CONVOLUTIONS = {"name": "test_resnet"}
LOOKSAM = {"name": "looksam", "k": 2, "alpha": 0.5}
SGD = {"name": "sgd", "lr": 0.1}
"""AdamW would make a whole step of the sign of a gradient that is rounding."""


def largest_difference(a, b) -> float:
    return max((a.weights[name].double() - value.double()).abs().max().item() for name, value in b.weights.items())


def apart(a, b, start) -> float:
    """How far the ends of two runs lie from each other, against the way from the start to the second's."""

    def distance(x, y) -> float:
        return sum((x.weights[n].double() - w.double()).square().sum().item() for n, w in y.weights.items()) ** 0.5

    return distance(a, b) / distance(b, start)


class TestPrecision:
    def test_fp16_trains_with_a_scaled_loss(self, run, small_spec):
        changes = {"method": LOOKSAM, "steps": 6, "optimizer": SGD}
        half, whole = run(small_spec(**changes, precision="fp16")), run(small_spec(**changes))
        start = run(small_spec(**changes | {"optimizer": {**SGD, "lr": 1e-30}}))
        # float16 has 11 bits, and a gradient is off by about 5e-4 of itself; found: 8e-4. It cannot be bf16 (6e-3), nor
        # an alpha of 0.45 (0.02), nor a reuse that is left out (0.2).
        assert 0 < apart(half, whole, start) < 3e-3
        assert half.recorder.points[6]["grad_norm"] == pytest.approx(whole.recorder.points[6]["grad_norm"], rel=0.1)
        assert half.saved().loss_scale["good_steps"] > 0

    def test_fp16_halves_the_scale_and_takes_the_step_again(self, run, small_spec, monkeypatch):
        monkeypatch.setattr("trainer.loss_scale.START", 2.0**24)
        done = run(small_spec(precision="fp16", method=LOOKSAM, steps=6))
        scale = done.saved().loss_scale
        assert scale["factor"] < 2.0**24
        assert done.outcome.step == 6
        # A first pass that is not finite has no second one.
        assert done.outcome.gradient_evaluations > 6 + 3

    def test_a_resume_goes_on_bit_for_bit(self, run, small_spec):
        spec = small_spec(precision="fp16", method=LOOKSAM, steps=8)
        whole = run(spec)
        asked = iter(range(100))
        part = run(spec, stop=lambda: next(asked) == 2)
        rest = run(spec, folder=part.folder, resume=[part.folder / "checkpoints" / "step-00000003"])
        assert largest_difference(rest, whole) == 0

    def test_the_ascent_can_be_taken_in_fp32(self, run, small_spec):
        """In bf16 most of a small eps is rounded away, and what is left of g_v is rounding."""
        common = {"method": {"name": "looksam", "rho": 0.01, "k": 2}, "steps": 2}
        whole = run(small_spec(**common)).recorder.points[1]
        coarse = run(small_spec(**common, precision="bf16")).recorder.points[1]
        fine = run(small_spec(**common, precision="bf16", ascent_precision="fp32")).recorder.points[1]
        assert fine["orthogonal_ratio"] == whole["orthogonal_ratio"], "the first refresh is the fp32 run's"
        assert coarse["orthogonal_ratio"] != whole["orthogonal_ratio"]

    def test_the_scale_grows_after_many_good_steps_only_in_fp16(self):
        half, other = LossScale.of("fp16"), LossScale.of("fp32")
        for _ in range(GROWTH_STEPS):
            half.applied()
            other.applied()
        assert (half.factor, half.good_steps) == (2 * 65536.0, 0)
        assert other.factor == 1.0
        assert half.skipped()
        assert half.factor == 65536.0


class TestSwitches:
    @pytest.mark.parametrize("model", [None, CONVOLUTIONS])
    def test_channels_last(self, run, small_spec, model):
        changes = {"method": LOOKSAM, "steps": 4, "optimizer": SGD, **({"model": model} if model else {})}
        plain, other = (run(small_spec(**changes, execution={"channels_last": on})) for on in (False, True))
        # float32 sums in another order, 1e-7 of each, through four steps of a network that blows it up a little.
        assert largest_difference(other, plain) < 1e-4

    def test_activation_checkpointing_gives_the_same_with_dropout(self, run, small_spec):
        arguments = {"patch_size": 4, "embed_dim": 16, "depth": 2, "num_heads": 2, "proj_drop_rate": 0.3}
        changes = {"method": LOOKSAM, "steps": 4, "model": {"name": "vit_tiny_patch16_224", "arguments": arguments}}
        plain, other = (run(small_spec(**changes, execution={"activation_checkpointing": on})) for on in (False, True))
        assert largest_difference(other, plain) == 0, "the same operations on the same numbers"

    def test_a_model_that_cannot_checkpoint_is_refused_by_the_field(self, run, small_spec, monkeypatch):
        import timm

        create = timm.create_model

        def refuses(enable):
            assert not enable, "gradient checkpointing not supported"  # as such models of timm do

        def without(*arguments, **options):
            model = create(*arguments, **options)
            model.set_grad_checkpointing = refuses
            return model

        monkeypatch.setattr(timm, "create_model", without)
        with pytest.raises(TrainerError, match=r"execution\.activation_checkpointing is true"):
            run(small_spec(execution={"activation_checkpointing": True}))

    @pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler, here is no g++")
    def test_m14_compiled_is_eager(self, run, small_spec):
        changes = {"method": LOOKSAM, "steps": 4, "optimizer": SGD}
        plain, other = (run(small_spec(**changes, execution={"compile": on})) for on in (False, True))
        start = run(small_spec(**changes | {"optimizer": {**SGD, "lr": 1e-30}}))
        # float32: fused kernels round otherwise, 1e-7 of each number; found: 3e-7. An alpha of 0.45 is 0.02 apart.
        assert apart(other, plain, start) < 1e-5


class TestClip:
    def test_shortens_the_final_direction_and_nothing_else(self, run, small_spec):
        sgd = {"name": "sgd", "lr": 1.0, "momentum": 0.0}
        changes = {"optimizer": sgd, "steps": 1, "method": LOOKSAM, "checkpoint": {"every_steps": 1}}
        plain, clipped = run(small_spec(**changes)), run(small_spec(**changes, clip_norm=0.25))
        start = run(small_spec(**changes | {"optimizer": {**sgd, "lr": 1e-30}}))
        moved = torch.cat([(clipped.weights[n] - start.weights[n]).flatten() for n in start.weights])
        free = torch.cat([(plain.weights[n] - start.weights[n]).flatten() for n in start.weights])
        assert free.norm() > 0.25
        # float32 weights near 1 are moved by a vector of length 0.25: 6e-8 an element.
        assert moved.norm().item() == pytest.approx(0.25, rel=1e-5)
        assert torch.nn.functional.cosine_similarity(moved, free, dim=0).item() == pytest.approx(1, abs=1e-6)
        assert clipped.recorder.points[1]["grad_norm"] == plain.recorder.points[1]["grad_norm"]

    def test_a_norm_above_leaves_the_bits(self, run, small_spec):
        plain, clipped = run(small_spec(method=LOOKSAM)), run(small_spec(method=LOOKSAM, clip_norm=1e6))
        assert largest_difference(clipped, plain) == 0


class TestCalendar:
    def test_the_method_is_on_between_its_steps_alone(self, run, small_spec):
        looked = run(small_spec(steps=12, method={"name": "looksam", "k": 3, "start_step": 4, "stop_step": 9}))
        assert looked.outcome.gradient_evaluations == 12 + 2, "refreshes at steps 4 and 7"
        assert "loss_rise" in looked.recorder.points[5], "the first refresh shows its signals"
        plain = run(small_spec(steps=12, checkpoint={"every_steps": 4, "keep": 9}))
        early = run(
            small_spec(steps=12, checkpoint={"every_steps": 4, "keep": 9}, method={"name": "sam", "start_step": 4})
        )
        assert all(torch.equal(early.saved(4).model[n], value) for n, value in plain.saved(4).model.items())
        assert any(not torch.equal(early.saved(8).model[n], value) for n, value in plain.saved(8).model.items())

    def test_rho_can_follow_the_learning_rate(self, run, small_spec):
        """With a warm-up of four steps the first radius is a quarter of the peak's."""
        schedule = {"name": "constant", "warmup_steps": 4}
        follows = run(small_spec(
            steps=1, schedule=schedule, method={"name": "sam", "rho": 0.4, "rho_schedule": "learning_rate"},
        ))  # fmt: skip
        quarter = run(small_spec(steps=1, schedule=schedule, method={"name": "sam", "rho": 0.1}))
        assert largest_difference(follows, quarter) == 0
