"""Label smoothing, mixing and the moving average of the weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from trainer.contract.execution import Regularization
from trainer.mixing import TrainingLoss

PIXELS = torch.randn(6, 3, 8, 8, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 1, 2, 3, 0, 1])


class TestMixing:
    @pytest.mark.parametrize("fields", [{"mixup_alpha": 0.8}, {"cutmix_alpha": 1.0}])
    def test_the_same_place_gives_the_same_mix_and_another_place_another(self, fields):
        loss = TrainingLoss(Regularization(**fields), seed=5, num_classes=4)
        first, again, later = (loss.mixed(PIXELS, LABELS, step, 0, 0) for step in (3, 3, 4))
        assert torch.equal(first[0], again[0])
        assert torch.equal(first[1], again[1])
        assert not torch.equal(first[1], later[1])
        assert first[1].shape == (6, 4)
        # Shares of one target in float32: a sum of four numbers below 1.
        torch.testing.assert_close(first[1].sum(dim=1), torch.ones(6), rtol=0, atol=1e-6)

    def test_images_and_the_global_stream_stay(self):
        before, stream = PIXELS.clone(), np.random.get_state()[1].copy()
        TrainingLoss(Regularization(mixup_alpha=0.8, cutmix_alpha=1.0), seed=5, num_classes=4).mixed(PIXELS, LABELS, 0)
        assert torch.equal(PIXELS, before)
        assert np.array_equal(np.random.get_state()[1], stream)

    def test_off_changes_nothing(self):
        images, targets = TrainingLoss(Regularization(), seed=5, num_classes=4).mixed(PIXELS, LABELS, 0)
        assert images is PIXELS
        assert targets is LABELS

    def test_an_odd_pass_is_refused_by_the_field(self, small_spec):
        with pytest.raises(ValueError, match="must be even"):
            small_spec(global_batch_size=33, regularization={"mixup_alpha": 0.2})

    @pytest.mark.parametrize("method", [{"name": "looksam", "k": 2}, {"name": "sam", "perturbation": "per_microbatch"}])
    def test_a_refresh_at_rho_zero_is_the_base_step(self, run, small_spec, method):
        """Both passes see the same mix: otherwise their gradients would differ."""
        common = {"regularization": {"mixup_alpha": 0.8, "cutmix_alpha": 1.0}, "micro_batch_size": 16, "steps": 4}
        plain = run(small_spec(**common))
        same = run(small_spec(**common, method={**method, "rho": 0.0}))
        assert all(torch.equal(same.weights[name], value) for name, value in plain.weights.items())


def test_smoothing_raises_the_least_loss(run, small_spec):
    plain = run(small_spec(steps=3))
    smooth = run(small_spec(steps=3, regularization={"label_smoothing": 0.2}))
    assert smooth.recorder.points[1]["train_loss"] != plain.recorder.points[1]["train_loss"]
    logits = torch.tensor([[30.0, 0.0, 0.0, 0.0]])
    loss = TrainingLoss(Regularization(label_smoothing=0.2), seed=0, num_classes=4)
    # By hand: 0.2/4 of the target on each of three answers whose log-probability is -30.
    assert loss.of(logits, torch.tensor([0])).item() == pytest.approx(3 * 0.05 * 30, rel=1e-5)


class TestAverage:
    def test_is_validated_saved_and_resumed_bit_for_bit(self, run, small_spec):
        spec = small_spec(ema_decay=0.9, steps=12, evaluation={"every_epochs": 1})
        whole = run(spec)
        assert {"ema_validation_loss", "ema_validation_top1", "validation_loss"} <= whole.recorder.points[12].keys()
        asked = iter(range(100))
        part = run(spec, stop=lambda: next(asked) == 4)
        assert part.outcome.step == 5
        rest = run(spec, folder=part.folder, resume=[part.folder / "checkpoints" / "step-00000005"])
        average = whole.saved().average
        assert all(torch.equal(rest.saved().average[name], value) for name, value in average.items())
        assert any(not torch.equal(whole.weights[name], value) for name, value in average.items())

    def test_follows_its_formula(self, run, small_spec):
        spec = small_spec(ema_decay=0.5, steps=4, checkpoint={"every_steps": 1, "keep": 4})
        done = run(spec)
        expected = {name: value.clone() for name, value in done.saved(1).model.items()}
        for step in (2, 3, 4):
            # timm's warm-up: 1 - (1 + (step - 1))^(-2/3), at most ema_decay.
            decay = min(0.5, 1 - step ** (-2 / 3))
            for name, value in done.saved(step).model.items():
                expected[name] = decay * expected[name] + (1 - decay) * value
        for name, value in done.saved().average.items():
            # float32: three weighted means of numbers of the same size.
            torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=1e-7)

    def test_changes_nothing_of_the_training(self, run, small_spec):
        with_average, without = run(small_spec(ema_decay=0.9)), run(small_spec())
        assert all(torch.equal(with_average.weights[name], value) for name, value in without.weights.items())
