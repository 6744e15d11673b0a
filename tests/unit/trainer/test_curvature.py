"""Lanczos and Hutchinson: against dense matrices, against a network's whole Hessian, and without a trace in the run."""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch
from torch import nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import cross_entropy

from tests.unit.trainer.oracles.network import Network, batch
from trainer import curvature
from trainer.curvature import Eigenvalue, hutchinson_trace, largest_eigenvalue
from trainer.data import load
from trainer.model import build
from trainer.parallel import World

TINY_VIT = {
    "name": "vit_tiny_patch16_224",
    "arguments": {"patch_size": 8, "embed_dim": 4, "depth": 1, "num_heads": 1, "mlp_ratio": 1.0, "proj_drop_rate": 0.3},
}
"""460 weights: its dense Hessian is a matter of seconds."""


def symmetric(eigenvalues: np.ndarray) -> torch.Tensor:
    turn, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(len(eigenvalues), len(eigenvalues))))
    return torch.from_numpy(turn @ np.diag(eigenvalues) @ turn.T)


def start(size: int) -> torch.Tensor:
    return torch.randn(size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


class TestLanczos:
    def found(self, matrix: torch.Tensor, **how) -> Eigenvalue:
        return largest_eigenvalue(lambda v: matrix @ v, start(len(matrix)), **how)

    def test_equals_dense_eigendecomposition_on_a_networks_hessian(self):
        network = Network()
        matrix = torch.from_numpy(network.hessian(network.start(), *batch(0)))
        expected = float(torch.linalg.eigvalsh(matrix)[-1])
        found = self.found(matrix, most_products=len(matrix), tolerance=1e-9)
        # The square of the tolerance and rounding; the reference's own Hessian is symmetric to 1e-15.
        assert found.value == pytest.approx(expected, rel=1e-8)
        assert found.products < len(matrix)

    def test_full_reorthogonalisation_finds_no_eigenvalue_twice(self):
        """One far above the rest converges first; without it, copies of it come back and hide that the space is used
        up."""
        eigenvalues = np.concatenate([[1e6], np.linspace(-1, 1, 99)])
        basis = []
        matrix = symmetric(eigenvalues)

        def product(v):
            basis.append(v.clone())
            return matrix @ v

        largest_eigenvalue(product, start(100), most_products=60, tolerance=-1.0)  # never satisfied
        gram = torch.stack(basis) @ torch.stack(basis).T
        # Two passes leave rounding of each inner product, of 100 terms, whatever the spectrum.
        assert (gram - torch.eye(60, dtype=torch.float64)).abs().max() < 1e-13

    def test_the_largest_is_not_the_largest_in_magnitude(self):
        assert self.found(symmetric(np.array([-50.0, -3.0, 0.5, 2.0]))).value == pytest.approx(2.0, rel=1e-12)

    def test_an_eigenvalue_lies_within_the_residual(self):
        eigenvalues = np.linspace(0, 1, 200)
        found = self.found(symmetric(eigenvalues), most_products=5)
        assert found.products == 5
        assert np.abs(eigenvalues - found.value).min() <= found.residual

    @pytest.mark.parametrize("value", [3.0, 0.0, -2.0])
    def test_ends_where_the_space_is_used_up(self, value):
        """Every vector is an eigenvector, so the first product says it all."""
        found = self.found(value * torch.eye(7, dtype=torch.float64))
        assert found.value == pytest.approx(value, rel=1e-15)
        assert found.products == 1

    def test_more_products_than_dimensions_are_not_made(self):
        found = self.found(symmetric(np.array([1.0, 2.0])), most_products=40, tolerance=0.0)
        assert found.products <= 2
        assert found.value == pytest.approx(2.0, rel=1e-14)


class TestHutchinson:
    def test_is_exact_for_a_diagonal_matrix(self):
        diagonal = torch.arange(5, dtype=torch.float64)
        trace = hutchinson_trace(lambda v: diagonal * v, 5, 1, torch.Generator().manual_seed(0), torch.float64)
        assert trace == 10.0

    def test_tends_to_the_trace(self):
        matrix = symmetric(np.linspace(0, 1, 50))
        generator = torch.Generator().manual_seed(0)
        trace = hutchinson_trace(lambda v: matrix @ v, 50, 2000, generator, torch.float64)
        # Standard error sqrt(2/2000) * ||H||_F = 0.13; five of them.
        assert trace == pytest.approx(25.0, abs=5 * 0.13)


def dense_hessian(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    names = [name for name, _ in model.named_parameters()]
    shapes = [weight.shape for weight in model.parameters()]
    flat = torch.cat([weight.detach().reshape(-1) for weight in model.parameters()])

    def loss(vector):
        pieces = vector.split([shape.numel() for shape in shapes])
        weights = {name: piece.view(shape) for name, piece, shape in zip(names, pieces, shapes, strict=True)}
        return cross_entropy(functional_call(model, weights, (images,)), labels)

    with sdpa_kernel(SDPBackend.MATH):
        return torch.autograd.functional.hessian(loss, flat)


@pytest.mark.parametrize("wanted", [30, 10_000], ids=["the first 30", "all 100"])
@pytest.mark.parametrize("pass_size", [100, 7])
def test_equals_the_dense_hessian_of_a_vision_transformer(small_spec, wanted, pass_size):
    spec = small_spec(
        model=TINY_VIT, precision="fp64", global_batch_size=pass_size, evaluation={"curvature_images": wanted}
    )
    images = load(spec, torch.device("cpu"))
    model = build(spec, images, World.single())
    weights = list(model.parameters())
    found = curvature.measure(model, weights, images.train, spec, World.single())
    assert model.training

    count = min(wanted, len(images.train))
    model.eval()
    hessian = dense_hessian(model, images.train.pixels[:count], images.train.labels[:count])
    expected = float(torch.linalg.eigvalsh(hessian)[-1])
    # A relative residual of 1e-3 gives the square of it, times how near the next eigenvalue is.
    assert found["hessian_top_eigenvalue"] == pytest.approx(expected, rel=1e-4)
    generator = torch.Generator().manual_seed(curvature.randomness.key("hutchinson", spec.seed))
    same_signs = hutchinson_trace(lambda v: hessian @ v, len(hessian), curvature.SIGN_VECTORS, generator, torch.float64)
    # The same vectors, so only the order of sums differs.
    assert found["hessian_trace"] == pytest.approx(same_signs, rel=1e-9)


def test_shares_add_up_to_the_same(small_spec, monkeypatch):
    """Two ranks, one after the other: the sum of their products is the product of one."""
    spec = small_spec(model=TINY_VIT, precision="fp64", evaluation={"curvature_images": 31})
    images = load(spec, torch.device("cpu"))
    model = build(spec, images, World.single()).eval()
    weights = list(model.parameters())
    vector = start(sum(weight.numel() for weight in weights))

    class Alone(World):
        """A rank whose sums are left to the test."""

        def sum_(self, tensor):
            return tensor

    def product(rank: int, size: int) -> torch.Tensor:
        world = Alone(rank=rank, size=size, device=torch.device("cpu"), group=None)
        with sdpa_kernel(SDPBackend.MATH):
            return curvature._hessian_of(model, weights, images.train, spec, world)(vector)

    torch.testing.assert_close(product(0, 2) + product(1, 2), product(0, 1), rtol=1e-11, atol=1e-13)


def test_a_model_that_no_weight_reaches_is_flat(small_spec):
    class Flat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.ones(3, dtype=torch.float64))

        def forward(self, pixels):
            return torch.zeros(len(pixels), 10, dtype=torch.float64) + 0.0 * self.w.sum()

    spec = small_spec(precision="fp64", evaluation={"curvature_images": 10})
    model = Flat()
    found = curvature.measure(model, [model.w], load(spec, torch.device("cpu")).train, spec, World.single())
    assert found == {"hessian_top_eigenvalue": 0.0, "hessian_trace": 0.0}


def test_weights_that_no_pass_reaches_are_left_out(run, small_spec, monkeypatch):
    create = timm.create_model

    def with_a_spare(*arguments, **options):
        model = create(*arguments, **options)
        with torch.random.fork_rng():
            model.unused = nn.Linear(3, 3)
        return model

    spec = small_spec(model=TINY_VIT, steps=2, precision="fp64", evaluation={"curvature_images": 20})
    without = run(spec).outcome.numbers
    monkeypatch.setattr(timm, "create_model", with_a_spare)
    found = run(spec).outcome.numbers
    for name in ("hessian_top_eigenvalue", "hessian_trace"):
        assert found[name] == without[name], "the same draws, the same Hessian"


@pytest.mark.parametrize("method", [{"name": "none"}, {"name": "look_layersam", "rho": 0.05}])
def test_changes_nothing_of_the_run(run, small_spec, method):
    with_it = run(small_spec(model=TINY_VIT, method=method, evaluation={"curvature_images": 20}))
    without = run(small_spec(model=TINY_VIT, method=method))
    assert with_it.outcome.numbers.keys() - without.outcome.numbers.keys() == {
        "hessian_top_eigenvalue", "hessian_trace",
    }  # fmt: skip
    assert with_it.outcome.gradient_evaluations == without.outcome.gradient_evaluations
    a, b = with_it.saved(), without.saved()
    assert all(torch.equal(value, b.model[name]) for name, value in a.model.items())
    assert {**with_it.deterministic_points, 12: None} == {**without.deterministic_points, 12: None}
    assert all("hessian_trace" not in values for step, values in with_it.recorder.points.items() if step < 12)


def test_the_same_with_activation_checkpointing(run, small_spec):
    """Recomputed activations are differentiated twice, too."""
    evaluation = {"curvature_images": 20}
    plain = run(small_spec(model=TINY_VIT, evaluation=evaluation)).outcome.numbers
    again = run(
        small_spec(model=TINY_VIT, evaluation=evaluation, execution={"activation_checkpointing": True})
    ).outcome.numbers
    # fp32, and the weights differ by nothing: recomputed activations are the same bits.
    assert again["hessian_top_eigenvalue"] == pytest.approx(plain["hessian_top_eigenvalue"], rel=1e-5)
