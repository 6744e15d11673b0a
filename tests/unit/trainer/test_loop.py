"""Whole runs in one process: counts, reductions between methods, resume, what is told and when."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from trainer.contract.ends import EndReason
from trainer.contract.metrics import BY_NAME
from trainer.errors import TrainerError
from trainer.gpu_readings import READINGS
from trainer.loop import NO_PERSISTENCE

LOOKSAM = {"name": "looksam", "rho": 0.1, "k": 5, "alpha": 0.3}
DROPOUT_VIT = {
    "name": "vit_tiny_patch16_224",
    "arguments": {
        "patch_size": 4, "embed_dim": 16, "depth": 1, "num_heads": 2, "drop_path_rate": 0.2, "proj_drop_rate": 0.2,
    },
}  # fmt: skip


def same_bits(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


class TestPasses:
    @pytest.mark.parametrize(
        ("method", "passes"), [({"name": "none"}, 12), ({"name": "sam"}, 24), ({"name": "looksam"}, 12 + 3)]
    )
    def test_t_steps_cost_t_2t_and_t_plus_ceil_t_over_k(self, run, small_spec, monkeypatch, method, passes):
        from trainer import gradient

        forwards = 0
        forward = gradient.BatchGradient._forward

        def counted(self, pixels):
            nonlocal forwards
            forwards += 1
            return forward(self, pixels)

        monkeypatch.setattr(gradient.BatchGradient, "_forward", counted)
        result = run(small_spec(method=method))
        assert forwards == passes
        assert result.outcome.gradient_evaluations == passes
        assert result.outcome.numbers["gradient_evaluations"] == passes


class TestReductions:
    """Bit for bit: the arithmetic is the same, not merely close. With dropout, so the masks are part of it."""

    def test_looksam_with_k_1_is_sam(self, run, small_spec):
        a = run(small_spec(model=DROPOUT_VIT, method={**LOOKSAM, "k": 1}))
        b = run(small_spec(model=DROPOUT_VIT, method={"name": "sam", "rho": 0.1}))
        assert same_bits(a.weights, b.weights)

    def test_looksam_with_alpha_0_is_sam_every_k(self, run, small_spec):
        a = run(small_spec(model=DROPOUT_VIT, method={**LOOKSAM, "alpha": 0.0}))
        b = run(small_spec(model=DROPOUT_VIT, method={"name": "sam", "rho": 0.1, "k": 5}))
        assert same_bits(a.weights, b.weights)

    @pytest.mark.parametrize("precision", ["fp32", "fp64", "bf16"])
    @pytest.mark.parametrize("method", [{**LOOKSAM, "rho": 0.0}, {"name": "sam", "rho": 0.0}])
    def test_rho_0_is_the_base_optimizer(self, run, small_spec, precision, method):
        a = run(small_spec(model=DROPOUT_VIT, method=method, precision=precision))
        b = run(small_spec(model=DROPOUT_VIT, precision=precision))
        assert same_bits(a.weights, b.weights)

    def test_the_methods_differ_where_they_should(self, run, small_spec):
        ends = [run(small_spec(method=method)).weights for method in ({"name": "none"}, {"name": "sam"}, LOOKSAM)]
        assert not same_bits(ends[0], ends[1])
        assert not same_bits(ends[1], ends[2])

    @pytest.mark.parametrize(
        "optimizer", [{"name": "sgd", "lr": 0.1, "weight_decay": 0.01}, {"name": "adamw", "lr": 0.003}]
    )
    def test_the_base_optimizer_is_torchs_fed_by_hand(self, run, small_spec, optimizer):
        """A plain loop of the kind everybody writes, with the same initial weights and the same batches."""
        import timm

        from trainer import data, randomness
        from trainer.datasets.order import EndlessOrder
        from trainer.optimizer import learning_rate

        spec = small_spec(optimizer=optimizer, precision="fp64")
        result = run(spec)

        images = data.load(spec, torch.device("cpu"))
        randomness.seed_initialisation(spec.seed)
        model = timm.create_model(
            spec.model.name, num_classes=10, in_chans=1, img_size=8, **spec.model.arguments
        ).double()
        order = EndlessOrder(100, spec.seed)
        decayed = [p for p in model.parameters() if p.ndim > 1]
        others = [p for p in model.parameters() if p.ndim <= 1]
        groups = [
            {"params": decayed, "weight_decay": spec.optimizer.weight_decay},
            {"params": others, "weight_decay": 0.0},
        ]
        base = (
            torch.optim.SGD(groups, lr=0.1, momentum=0.9)
            if optimizer["name"] == "sgd"
            else torch.optim.AdamW(groups, lr=0.003)
        )
        for t in range(12):
            for group in base.param_groups:
                group["lr"] = learning_rate(spec.schedule, spec.optimizer.lr, t, 12)
            pixels, labels = images.train.take(order.between(32 * t, 32 * (t + 1)))
            base.zero_grad()
            torch.nn.functional.cross_entropy(model(pixels), labels).backward()
            base.step()
        for name, value in model.state_dict().items():
            # Fused and plain kernels order a few products differently: ulps, which AdamW's division may enlarge early.
            torch.testing.assert_close(result.weights[name], value, rtol=1e-9, atol=1e-11)


class TestAccumulation:
    @pytest.mark.parametrize("method", [{"name": "sam"}, {**LOOKSAM, "alpha": "auto"}])
    def test_micro_batches_add_up_to_the_global_batch(self, run, small_spec, method):
        whole = run(small_spec(precision="fp64", method=method))
        parts = run(small_spec(precision="fp64", method=method, micro_batch_size=8))
        # Sums in another order, 12 steps: found 1e-14; the bar for two workers is 1e-12.
        for name, value in whole.weights.items():
            torch.testing.assert_close(parts.weights[name], value, rtol=0, atol=1e-12)

    def test_a_spec_for_two_workers_trains_in_one_process(self, run, small_spec):
        one = run(small_spec(precision="fp64"))
        two = run(small_spec(precision="fp64", resources={"workers": 2}))
        for name, value in one.weights.items():
            torch.testing.assert_close(two.weights[name], value, rtol=0, atol=1e-12)


class TestResume:
    def test_sixty_steps_are_37_and_23(self, run, small_spec):
        spec = small_spec(
            model=DROPOUT_VIT, method={**LOOKSAM, "alpha": "auto"}, steps=60, logging={"every_steps": 4},
            checkpoint={"every_steps": 25, "keep": 10},
        )  # fmt: skip
        whole = run(spec)
        asked = iter(range(1000))
        first = run(spec, stop=lambda: next(asked) == 36)
        assert first.outcome.reason is EndReason.cancelled_by_user
        assert first.outcome.step == 37
        assert first.recorder.saved == [25, 37]
        second = run(spec, folder=first.folder, resume=[first.folder / "checkpoints" / "step-00000037"])
        assert second.outcome.reason is EndReason.completed
        assert second.recorder.steps[:2] == [37, 38]
        assert same_bits(whole.weights, second.weights)
        together = {**first.deterministic_points, **second.deterministic_points}
        assert together == whole.deterministic_points, "every deterministic number at every step, bit for bit"
        assert first.deterministic_points.keys().isdisjoint(second.deterministic_points.keys())
        assert second.outcome.gradient_evaluations == whole.outcome.gradient_evaluations == 72

    @pytest.mark.parametrize("optimizer", [{"name": "sgd", "lr": 0.05}, {"name": "adamw", "lr": 0.003}])
    @pytest.mark.parametrize("phase", range(5))
    def test_at_every_phase_of_the_cycle(self, run, small_spec, optimizer, phase):
        spec = small_spec(
            method={**LOOKSAM, "alpha": "auto"}, optimizer=optimizer, steps=16,
            checkpoint={"every_steps": 6 + phase, "keep": 9},
        )  # fmt: skip
        whole = run(spec)
        at = 6 + phase
        again = run(spec, resume=[whole.folder / "checkpoints" / f"step-{at:08d}"])
        assert same_bits(whole.weights, again.weights)
        later = {step: values for step, values in whole.deterministic_points.items() if step > at}
        assert again.deterministic_points == later

    def test_a_finished_run_has_nothing_left_to_do(self, run, small_spec):
        whole = run(small_spec())
        again = run(small_spec(), resume=[whole.folder / "checkpoints" / "step-00000012"])
        assert again.outcome.reason is EndReason.completed
        assert again.outcome.numbers == whole.outcome.numbers
        assert not again.recorder.points

    def test_another_spec_is_refused_by_the_field(self, run, small_spec):
        whole = run(small_spec())
        with pytest.raises(TrainerError, match=r"^seed is 1, but .* was trained with 0") as caught:
            run(small_spec(seed=1), resume=[whole.folder / "checkpoints" / "step-00000012"])
        assert caught.value.reason is EndReason.spec_rejected_by_trainer

    def test_what_does_not_change_the_training_may_change(self, run, small_spec):
        whole = run(small_spec(steps=12, checkpoint={"every_steps": 6, "keep": 3}))
        again = run(
            small_spec(steps=12, logging={"every_steps": 1}), resume=[whole.folder / "checkpoints" / "step-00000006"]
        )
        assert same_bits(whole.weights, again.weights)

    def test_the_number_of_threads_is_kept(self, run, small_spec):
        torch.set_num_threads(2)
        whole = run(small_spec(steps=1))
        assert whole.saved().threads == 2
        torch.set_num_threads(1)
        run(small_spec(steps=1), resume=[whole.folder / "checkpoints" / "step-00000001"])
        assert torch.get_num_threads() == 2


class TestWhatIsTold:
    def test_names_are_the_catalogues_and_steps_count_from_one(self, run, small_spec):
        model = {**DROPOUT_VIT, "arguments": {**DROPOUT_VIT["arguments"], "depth": 3}}  # a block in each layer group
        evaluation = {"sharpness_radius": 0.05, "curvature_images": 10}
        result = run(small_spec(model=model, method={"name": "looksam"}, evaluation=evaluation, ema_decay=0.9))
        points = result.recorder.points
        of_a_test_set = {"test_loss", "test_top1"}  # which the digits have not
        of_a_gpu = set(READINGS)
        assert {name for values in points.values() for name in values} == set(BY_NAME) - of_a_test_set - of_a_gpu
        assert min(points) == 1
        assert max(points) == 12
        assert {"train_loss", "validation_top1", "validation_loss"} <= points[12].keys()
        assert result.recorder.steps == list(range(13))

    def test_metrics_come_before_the_checkpoint_of_their_step(self, run, small_spec):
        told = run(small_spec(checkpoint={"every_steps": 6})).recorder.told
        assert told.index(("metrics", "6")) < told.index(("checkpoint", "6"))
        assert told[0] == ("first_step",)
        assert told.count(("first_step",)) == 1
        assert told[-1] == ("checkpoint", "12")

    def test_validation_comes_where_a_step_ends_an_epoch(self, run, small_spec):
        points = run(small_spec(epochs=3.5)).recorder.points  # 100 images, batches of 32: 3.5 epochs are 11 steps
        validated = [step for step, values in points.items() if "validation_top1" in values]
        assert validated == [4, 7, 10, 11]

    def test_signals_of_sam_are_thinned_to_the_logging(self, run, small_spec):
        points = run(small_spec(method={"name": "sam"}, logging={"every_steps": 5})).recorder.points
        assert [step for step, values in points.items() if "loss_rise" in values] == [1, 5, 10, 12]

    def test_numbers_are_those_of_the_training_set(self, run, small_spec):
        values = run(small_spec(precision="fp64")).recorder.points[1]
        assert values["epoch"] == 0.32
        assert values["learning_rate"] == 0.003
        assert 0 <= values["train_top1"] <= 100
        assert values["train_top1"] * 32 / 100 == pytest.approx(round(values["train_top1"] * 32 / 100), abs=1e-9)

    def test_the_notice_of_rule_13_comes_once_and_survives_a_resume(self, run, small_spec):
        spec = small_spec(
            method={"name": "looksam", "k": 1, "rho": 0.0}, steps=40, checkpoint={"every_steps": 30, "keep": 3}
        )  # at rho = 0 there is no direction, so c stays 0
        whole = run(spec)
        assert [(code, step) for code, _, step in whole.recorder.notices] == [(NO_PERSISTENCE, 21)]
        assert "SAM every k does the same" in whole.recorder.notices[0][1]
        again = run(spec, resume=[whole.folder / "checkpoints" / "step-00000030"])
        assert not again.recorder.notices

    def test_a_direction_that_persists_gives_no_notice(self, run, small_spec):
        # One batch over and over (the whole data set), small steps: the direction hardly turns.
        spec = small_spec(
            method={"name": "looksam", "k": 1, "rho": 0.1}, steps=30, global_batch_size=100,
            optimizer={"name": "sgd", "lr": 0.001},
        )  # fmt: skip
        result = run(spec)
        assert result.outcome.numbers["persistence"] > 0.5
        assert not result.recorder.notices


class TestEnds:
    def test_a_loss_that_is_not_finite_names_its_step_and_keeps_what_was(self, run, small_spec, tmp_path):
        # lr 1000 with SGD: the weights explode within a few steps.
        spec = small_spec(optimizer={"name": "sgd", "lr": 1000.0}, steps=100, logging={"every_steps": 1})
        with pytest.raises(TrainerError, match=r"of step \d+ was not finite") as caught:
            run(spec, folder=tmp_path / "diverging")
        assert caught.value.reason is EndReason.loss_not_finite
        assert not (tmp_path / "diverging" / "checkpoints").exists()

    def test_stop_at_the_last_step_is_a_completed_run(self, run, small_spec):
        asked = iter(range(100))
        result = run(small_spec(), stop=lambda: next(asked) == 11)
        assert result.outcome.reason is EndReason.completed

    def test_stop_before_the_first_step_trains_one_and_saves_it(self, run, small_spec):
        result = run(small_spec(), stop=lambda: True)
        assert (result.outcome.reason, result.outcome.step) == (EndReason.cancelled_by_user, 1)
        assert result.recorder.saved == [1]

    def test_running_out_of_memory_has_its_reason(self, run, small_spec, monkeypatch):
        from trainer import gradient

        def greedy(self, pixels):
            return torch.empty(2**60)

        monkeypatch.setattr(gradient.BatchGradient, "_forward", greedy)
        with pytest.raises(TrainerError, match="Lower `micro_batch_size`") as caught:
            run(small_spec())
        assert caught.value.reason is EndReason.out_of_memory

    def test_a_batch_that_the_processes_cannot_share_is_refused(self, small_spec, tmp_path):
        from trainer.datasets.order import plan_batches

        with pytest.raises(TrainerError, match="global_batch_size is 32: must divide by 3 processes"):
            plan_batches(small_spec(), 3)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp64"])
def test_every_precision_learns(run, small_spec, precision):
    spec = small_spec(
        precision=precision, method={"name": "looksam"}, steps=60, optimizer={"name": "adamw", "lr": 0.01},
        logging={"every_steps": 60}, evaluation={"every_epochs": 60},
    )  # fmt: skip
    points = run(spec).recorder.points
    assert points[60]["train_loss"] < 0.7 * points[1]["train_loss"]
