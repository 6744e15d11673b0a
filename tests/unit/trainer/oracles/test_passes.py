"""M11 to M13: how many passes and sums a run takes, their masks, and the running statistics they leave."""

from __future__ import annotations

from itertools import count

import pytest
import torch
from torch import nn

from tests.unit.trainer.oracles.trained import method_of
from trainer import data, gradient, randomness
from trainer.datasets.order import plan_batches
from trainer.gradient import NUM_SCALARS, BatchGradient
from trainer.model import build
from trainer.parallel import ReducedGradients, World
from trainer.passes import Tensors
from trainer.step import MethodState, Step, choose_step

CPU = torch.device("cpu")
PERTURBATIONS = ["global", "per_rank", "per_microbatch"]
BATCHNORM = {"name": "test_resnet"}
DROPOUT = {
    "name": "vit_tiny_patch16_224",
    "arguments": {
        "patch_size": 4, "embed_dim": 16, "depth": 1, "num_heads": 2, "drop_path_rate": 0.3, "proj_drop_rate": 0.3,
        "attn_drop_rate": 0.3,
    },
}  # fmt: skip


def passes_of(spec) -> BatchGradient:
    """Of the spec's own network, in this process."""
    images = data.load(spec, CPU)
    network = build(spec, images, World.single())
    reduced = ReducedGradients(list(network.parameters()), World.single(), NUM_SCALARS)
    return BatchGradient(network, images.train, spec, plan_batches(spec, 1), World.single(), reduced)


def step_of(passes: BatchGradient, method, state: MethodState) -> Step:
    network, reduced = passes.model, passes.reduced
    tensors = Tensors(
        weights=list(network.parameters()), gradients=reduced.tensors, buffers=list(network.buffers())
    )  # fmt: skip
    return choose_step(method, tensors, state)


def vector(gradients: BatchGradient) -> torch.Tensor:
    return torch.cat([tensor.flatten() for tensor in gradients.reduced.tensors]).clone()


class TestM11:
    STEPS = 11

    @pytest.mark.parametrize("perturbation", PERTURBATIONS)
    @pytest.mark.parametrize("name", ["sam", "looksam", "layersam", "look_layersam"])
    @pytest.mark.parametrize("k", [1, 2, 5, 11, 100])
    def test_m11_ceil_t_over_k_more_passes_and_the_sums_that_they_need(self, objective, name, k, perturbation):
        """Over three micro-batches; a sum is one all-reduce of the gradient."""
        sums = 0

        class Counted(objective):
            def sum_over_ranks(self):
                nonlocal sums
                sums += 1
                return super().sum_over_ranks()

        losses = [lambda w, s=s: (w[0] * s).sin().sum() for s in (1, 2, 3)]
        problem = Counted([torch.linspace(0.1, 0.6, 6, dtype=torch.float64).reshape(2, 3)], *losses)
        step = problem.step_of(method_of({"name": name, "rho": 0.1, "k": k, "perturbation": perturbation}))
        for t in range(self.STEPS):
            step(t, problem)
            problem.descend(0.01)
        refreshes = -(-self.STEPS // k)
        assert problem.evaluations == 3 * (self.STEPS + refreshes)
        assert problem.state.gradient_evaluations == self.STEPS + refreshes
        # Where each pass climbs its own gradient, SAM needs no mean g; LookSAM splits g_s along it.
        needs_g = perturbation == "global" or name.startswith("look")
        assert sums == self.STEPS + (refreshes if needs_g else 0)

    @pytest.mark.parametrize("perturbation", PERTURBATIONS)
    def test_m11_on_a_whole_run(self, run, small_spec, monkeypatch, perturbation):
        forwards, forward = [], gradient.BatchGradient._forward

        def counted(self, pixels):
            forwards.append(len(pixels))
            return forward(self, pixels)

        monkeypatch.setattr(gradient.BatchGradient, "_forward", counted)
        method = {"name": "looksam", "k": 4, "perturbation": perturbation}
        done = run(small_spec(method=method, steps=self.STEPS, micro_batch_size=16))
        assert forwards == [16] * (2 * (11 + 3))
        assert done.outcome.gradient_evaluations == 11 + 3


@pytest.mark.parametrize("perturbation", PERTURBATIONS)
class TestM12:
    """At rho = 0 both passes are at the same weights, so the masks alone can tell them apart."""

    def refreshed(self, spec, perturbation) -> tuple[torch.Tensor, torch.Tensor, MethodState]:
        """g, g_s and what a LookSAM refresh at rho = 0 leaves."""
        passes, state = passes_of(spec), MethodState.fresh(CPU)
        passes.evaluate(0)
        g = vector(passes)
        method = method_of({"name": "looksam", "rho": 0.0, "perturbation": perturbation})
        step_of(passes, method, state)(0, passes.at(0))
        return g, vector(passes), state

    def test_m12_with_the_masks_replayed_g_s_is_g_bit_for_bit(self, small_spec, perturbation):
        g, g_s, state = self.refreshed(small_spec(model=DROPOUT), perturbation)
        assert torch.equal(g_s, g)
        assert g.norm() > 0
        assert not state.direction_exists

    def test_m12_without_the_replay_it_is_not(self, small_spec, monkeypatch, perturbation):
        seed_masks, calls = randomness.seed_masks, count()

        def unlike_the_first(seed: int, step: int, micro_batch: int, rank: int) -> None:
            # Called for g, which the test evaluates, for the first pass of the step, and then for its second.
            seed_masks(seed + (1 if next(calls) == 2 else 0), step, micro_batch, rank)

        monkeypatch.setattr(randomness, "seed_masks", unlike_the_first)
        g, g_s, state = self.refreshed(small_spec(model=DROPOUT), perturbation)
        assert next(calls) == 3
        # Other masks leave out other parts of the network: nothing near rounding, 1e-7 in float32.
        assert (g_s - g).norm() > 0.1 * g.norm()
        assert state.direction_exists, "and what the masks did would be taken for a direction"


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("perturbation", PERTURBATIONS)
class TestM13:
    @staticmethod
    def buffers(network: nn.Module) -> dict[str, torch.Tensor]:
        return {name: buffer.clone() for name, buffer in network.named_buffers()}

    @pytest.mark.parametrize("name", ["sam", "looksam", "layersam", "look_layersam"])
    def test_m13_statistics_equal_a_base_runs_after_one_step(self, small_spec, name, perturbation):
        spec = small_spec(model=BATCHNORM, micro_batch_size=16)
        base, other = passes_of(spec), passes_of(spec)
        fresh = self.buffers(base.model)
        base.evaluate(0)
        step_of(other, method_of({"name": name, "rho": 0.1, "perturbation": perturbation}), MethodState.fresh(CPU))(
            0, other.at(0)
        )
        expected, found = self.buffers(base.model), self.buffers(other.model)
        assert any(not torch.equal(fresh[name], value) for name, value in expected.items())
        assert all(torch.equal(found[name], value) for name, value in expected.items())

    @pytest.mark.parametrize("failing", [1, 2])
    def test_m13_an_exception_in_the_second_pass_leaves_weights_and_statistics(
        self, small_spec, perturbation, failing
    ):  # fmt: skip
        """At the first or the second of two perturbed passes, when it has written to the buffers already."""
        spec = small_spec(model=BATCHNORM, micro_batch_size=16)
        perturbed_passes = count(1)

        class Fails(BatchGradient):
            def forward_backward(self, micro_batch, *, perturbed=False):
                super().forward_backward(micro_batch, perturbed=perturbed)
                if perturbed and next(perturbed_passes) == failing:
                    raise Interrupted

        passes = passes_of(spec)
        passes.__class__ = Fails
        weights = {name: weight.detach().clone() for name, weight in passes.model.named_parameters()}
        method = method_of({"name": "looksam", "rho": 0.1, "perturbation": perturbation})
        with pytest.raises(Interrupted):
            step_of(passes, method, MethodState.fresh(CPU))(0, passes.at(0))
        assert all(torch.equal(weight, weights[name]) for name, weight in passes.model.named_parameters())

        clean = passes_of(spec)
        clean.at(0).begin(refresh=False)
        clean.zero()
        # All first passes come before the perturbed ones, unless each micro-batch climbs by itself.
        for micro_batch in range(failing if perturbation == "per_microbatch" else 2):
            clean.forward_backward(micro_batch)
        expected, found = self.buffers(clean.model), self.buffers(passes.model)
        assert expected, "the model has running statistics"
        assert all(torch.equal(found[name], value) for name, value in expected.items())
