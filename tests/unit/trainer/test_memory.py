"""The most that is alive at once does not grow with the batch, and a refresh needs one copy of the weights beside u."""

from __future__ import annotations

import pytest
import torch

from benchmarks.step_cost.memory import Peak, peak_bytes
from tests.unit.trainer.conftest import SMALL
from tests.unit.trainer.image_folders import make_folder
from trainer.contract.methods import LookLayerSAM, LookSAM

SMALL_VIT = SMALL["model"]

METHODS = [
    {"name": "none"},
    {"name": "looksam", "k": 2},
    {"name": "look_layersam", "rho": 0.02, "k": 2, "scope": "per_tensor"},
    {"name": "looksam", "k": 2, "perturbation": "per_microbatch"},
]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: f"{method['name']}-{len(method)}")
def test_a_batch_of_8192_keeps_no_more_alive_than_one_of_1024(run, small_spec, method):
    """In micro-batches of 512, through a whole cycle of k."""

    def most(global_batch_size: int) -> int:
        spec = small_spec(method=method, global_batch_size=global_batch_size, micro_batch_size=512, steps=3)
        with Peak() as peak:
            run(spec)
        return peak.most

    assert most(8192) == most(1024)


@pytest.mark.parametrize("perturbation", ["global", "per_microbatch"])
def test_a_larger_batch_of_files_keeps_no_more_images_alive(run, small_spec, tmp_path, perturbation):
    """16 and 48 micro-batches, of which a refresh needs each twice; read by the worker itself."""
    images = make_folder(tmp_path / "images", per_class=8)

    def most(global_batch_size: int) -> int:
        spec = small_spec(
            data={"source": "image_folder", "train": str(images), "loader_workers": 0},
            model={**SMALL_VIT, "image_size": 8}, global_batch_size=global_batch_size, micro_batch_size=4, steps=3,
            method={"name": "looksam", "k": 2, "perturbation": perturbation},
        )  # fmt: skip
        with Peak() as peak:
            run(spec)
        return peak.most

    assert most(192) == most(64)


@pytest.mark.parametrize("method", [LookSAM(name="looksam", k=2), LookLayerSAM(name="look_layersam", rho=0.1, k=2)])
def test_a_refresh_needs_the_saved_weights_and_the_sample_of_the_cosine(objective, method):
    """With tensors of 4 MB each, above which only the sample of 2^20 elements is set aside for the cosine."""
    problem = objective([torch.ones(1024, 1024), torch.ones(1024, 1024)], lambda w: (w[0] * w[1]).sum())
    step = problem.step_of(method)
    passes = peak_bytes(problem.evaluate)
    for t in range(2):
        step(t, problem)
    weights = 2 * 4 * 2**20
    # The float64 pieces of the inner products, 6 MB, come when the saved weights are gone again.
    refresh = peak_bytes(lambda: step(2, problem))
    assert refresh <= passes + weights + 4 * 2**20 + 2**10
    kept = [tensor for tensor in problem.state.direction if tensor.numel()]
    assert sum(tensor.numel() * tensor.element_size() for tensor in kept) == weights
