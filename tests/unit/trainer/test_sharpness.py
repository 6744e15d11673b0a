"""The yardstick: against NumPy, and that measuring it leaves no trace."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from trainer import checkpoint, sharpness
from trainer.data import load
from trainer.datasets.image_set import DTYPES
from trainer.parallel import ReducedGradients, World

RADIUS = 0.05
BATCHNORM = {"name": "test_resnet"}
DROPOUT_VIT = {
    "name": "vit_tiny_patch16_224",
    "arguments": {"patch_size": 4, "embed_dim": 16, "depth": 1, "num_heads": 2, "proj_drop_rate": 0.3},
}


def softmax_regression(weight: np.ndarray, bias: np.ndarray, x: np.ndarray, labels: np.ndarray):
    """Mean cross-entropy and its gradient, by hand."""
    scores = x @ weight.T + bias
    scores -= scores.max(axis=1, keepdims=True)
    p = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    rows = np.arange(len(x))
    loss = -np.log(p[rows, labels]).mean()
    p[rows, labels] -= 1
    return loss, p.T @ x / len(x), p.mean(axis=0)


@pytest.mark.parametrize("pass_size", [100, 32, 7])  # the last pass is smaller
@pytest.mark.parametrize("precision", ["fp64", "fp32"])
def test_equals_numpy_on_softmax_regression(small_spec, pass_size, precision):
    spec = small_spec(precision=precision, global_batch_size=pass_size, evaluation={"sharpness_radius": RADIUS})
    images = load(spec, torch.device("cpu")).train
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).to(DTYPES[precision])
    weights = list(model.parameters())
    before = [weight.detach().clone() for weight in weights]
    found = sharpness.measure(
        model, weights, ReducedGradients(weights, World.single(), 4), images, spec, World.single()
    )
    assert all(torch.equal(weight, start) for weight, start in zip(weights, before, strict=True))

    x = images.pixels.double().flatten(1).numpy()
    w, b = (start.double().numpy() for start in before)
    loss, gw, gb = softmax_regression(w, b, x, images.labels.numpy())
    norm = np.sqrt((gw**2).sum() + (gb**2).sum())
    raised, _, _ = softmax_regression(w + RADIUS * gw / norm, b + RADIUS * gb / norm, x, images.labels.numpy())
    # float64: sums of 100 terms in another order. float32: an ulp of the scores, 1e-7, a few times over 100 images;
    # sharpness is a difference of two losses near 2.5, so it keeps the absolute error.
    tolerance = 1e-13 if precision == "fp64" else 1e-6
    assert found["training_set_loss"] == pytest.approx(loss, abs=tolerance)
    assert found["sharpness"] == pytest.approx(raised - loss, abs=tolerance)
    assert found["sharpness"] > 0.05


def test_at_a_stationary_point_there_is_no_step(small_spec):
    """A model that ignores its input and scores all classes alike: on balanced classes the gradient is zero."""
    spec = small_spec(precision="fp64", evaluation={"sharpness_radius": RADIUS})
    images = load(spec, torch.device("cpu")).train

    class Flat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.ones(3, dtype=torch.float64))

        def forward(self, pixels):
            return torch.zeros(len(pixels), 10, dtype=torch.float64) + 0.0 * self.w.sum()

    model = Flat()
    found = sharpness.measure(
        model, [model.w], ReducedGradients([model.w], World.single(), 4), images, spec, World.single()
    )
    assert found["sharpness"] == 0.0
    assert found["training_set_loss"] == pytest.approx(np.log(10), rel=1e-14)


@pytest.mark.parametrize("model", [BATCHNORM, DROPOUT_VIT], ids=["batchnorm", "dropout"])
@pytest.mark.parametrize("method", [{"name": "none"}, {"name": "look_layersam", "rho": 0.05}])
def test_changes_nothing_of_the_run(run, small_spec, model, method):
    with_it = run(small_spec(model=model, method=method, evaluation={"sharpness_radius": RADIUS}))
    without = run(small_spec(model=model, method=method))
    assert with_it.outcome.numbers.keys() - without.outcome.numbers.keys() == {"sharpness", "training_set_loss"}
    assert with_it.outcome.gradient_evaluations == without.outcome.gradient_evaluations
    a, b = with_it.saved(), without.saved()
    assert all(torch.equal(value, b.model[name]) for name, value in a.model.items()), "weights and buffers"
    for number, state in a.optimizer["state"].items():
        assert all(torch.equal(value, b.optimizer["state"][number][name]) for name, value in state.items())
    assert {**with_it.deterministic_points, 12: None} == {**without.deterministic_points, 12: None}
    last = with_it.recorder.points[12]
    assert {"sharpness", "training_set_loss", "validation_loss", "train_loss"} <= last.keys()
    assert all("sharpness" not in values for step, values in with_it.recorder.points.items() if step < 12)


def test_is_measured_in_evaluation_mode(run, small_spec):
    """Against the run's own weights in a model built anew: with dropout on, the loss would differ."""
    from trainer.model import build

    spec = small_spec(model=DROPOUT_VIT, precision="fp64", evaluation={"sharpness_radius": RADIUS})
    result = run(spec)
    images = load(spec, torch.device("cpu"))
    model = build(spec, images, World.single())
    model.load_state_dict(result.weights)
    loss = torch.nn.functional.cross_entropy(model.eval()(images.train.pixels), images.train.labels)
    # One pass instead of four: sums in another order.
    assert result.outcome.numbers["training_set_loss"] == pytest.approx(loss.item(), rel=1e-13)


def test_a_resumed_run_measures_the_same(run, small_spec):
    spec = small_spec(evaluation={"sharpness_radius": RADIUS}, checkpoint={"every_steps": 11, "keep": 3})
    whole = run(spec)
    again = run(spec, resume=[whole.folder / "checkpoints" / "step-00000011"])
    assert again.recorder.points[12]["sharpness"] == whole.recorder.points[12]["sharpness"]
    finished = run(spec, resume=[checkpoint.folder_of(whole.folder, 12)])
    assert finished.outcome.numbers["sharpness"] == whole.outcome.numbers["sharpness"]
