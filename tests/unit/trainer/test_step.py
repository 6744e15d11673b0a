"""What a step leaves alone: weights where a number is not finite, running statistics, masks between its passes."""

from __future__ import annotations

import re

import pytest
import timm
import torch
from pydantic import TypeAdapter

from benchmarks.step_cost.memory import peak_bytes
from trainer import checkpoint, data, layerwise, looksam, randomness
from trainer.contract.ends import EndReason
from trainer.contract.methods import SAM, LookSAM, Method
from trainer.contract.optimizers import SGD, AdamW
from trainer.datasets.order import plan_batches
from trainer.errors import TrainerError
from trainer.gradient import NUM_SCALARS, BatchGradient
from trainer.optimizer import GuardedOptimizer
from trainer.parallel import LateFlags, ReducedGradients, World
from trainer.step import choose_step

CPU = torch.device("cpu")
BATCHNORM = {"name": "test_resnet"}
OPTIMIZERS = [
    SGD(name="sgd", lr=0.1, weight_decay=0.1), SGD(name="sgd", lr=0.1, momentum=0.0), AdamW(name="adamw", lr=0.1),
]  # fmt: skip


METHODS = [
    SAM(name="sam", rho=0.05, k=2), LookSAM(name="looksam", rho=0.05, k=2, alpha=0.4),
    LookSAM(name="looksam", rho=0.05, k=2, alpha="auto"),
]  # fmt: skip


class TestSignalsNobodyReads:
    """They are left out with what only they need, and nothing else changes."""

    @pytest.mark.parametrize("method", METHODS, ids=["sam", "looksam, 0.4", "looksam, auto"])
    def test_do_not_decide_where_the_weights_go(self, random_quadratic, method):
        ends = []
        for shows in (lambda step: True, lambda step: step == 6, lambda step: False):
            problem, _ = random_quadratic()
            step = choose_step(method, problem.tensors, problem.state, shows=shows)
            for t in range(9):
                step(t, problem)
                problem.descend(0.01)
            ends.append((problem.weight_vector(), problem.state.alpha, problem.evaluations))
        for weights, alpha, evaluations in ends[1:]:
            assert torch.equal(weights, ends[0][0])
            assert torch.equal(alpha, ends[0][1])
            assert evaluations == ends[0][2]

    @pytest.mark.parametrize(
        ("method", "left_out"),
        [(METHODS[0], {"gradient_cosine", "orthogonal_ratio", "directional_curvature"}),
         (METHODS[1], {"direction_cosine"}), (METHODS[2], set())],
        ids=["sam", "looksam, 0.4", "looksam, auto"],
    )  # fmt: skip
    def test_are_all_there_where_somebody_reads_them(self, random_quadratic, method, left_out):
        found = {}
        for is_read in (True, False):
            problem, _ = random_quadratic()
            step = choose_step(method, problem.tensors, problem.state, shows=lambda step, is_read=is_read: is_read)
            step(0, problem)
            found[is_read] = step(2, problem).signals
        assert found[True].keys() - found[False].keys() == left_out
        assert all(torch.equal(found[True][name], value) for name, value in found[False].items())

    def test_cost_sam_no_copy_of_the_gradient(self, objective):
        problem = objective([torch.ones(1024, 1024)], lambda w: (w[0] ** 2).sum())
        weights = 4 * 2**20
        peaks = []
        for shows in (lambda step: False, lambda step: True):
            step = choose_step(SAM(name="sam"), problem.tensors, problem.state, shows=shows)
            peaks.append(peak_bytes(lambda step=step: step(0, problem)))
        assert peaks[1] - peaks[0] >= weights


class TestSignals:
    @pytest.mark.parametrize("rule", ["trust", "literal", "unit", "asam_dual"])
    @pytest.mark.parametrize("name", ["layersam", "look_layersam"])
    def test_the_curvature_is_per_length_of_eps_whose_norm_is_not_rho(self, objective, name, rule):
        """Of a quadratic, (g_s - g)'g/||g|| is (H eps)'g/||g||."""
        generator = torch.Generator().manual_seed(0)
        a, *start = (torch.randn(n, m, dtype=torch.float64, generator=generator) for n, m in [(6, 6), (1, 2), (2, 2)])
        hessian = a @ a.T

        def loss(weights):
            v = torch.cat([weight.flatten() for weight in weights])
            return v @ hessian @ v / 2

        problem = objective(start, loss)
        problem.evaluate()
        g = problem.gradient_vector()
        norms = looksam.norms(problem.gradients)
        scales = layerwise.ascent(
            problem.weights, problem.gradients, norms, rho=0.3, rule=rule, exclude_one_dimensional=False
        )
        eps = torch.cat([scale * part for scale, part in zip(scales, g.split([2, 4]), strict=True)])
        method = TypeAdapter(Method).validate_python({"name": name, "rho": 0.3, "layerwise": rule})
        found = problem.step_of(method)(0, problem).signals["directional_curvature"]
        expected = (hessian @ eps) @ g / g.norm() / eps.norm()
        # float64, and a difference of two gradients of that size.
        assert found.item() == pytest.approx(expected.item(), rel=1e-9)
        assert eps.norm().item() != pytest.approx(0.3, rel=1e-3)

    def test_the_length_of_eps_costs_nothing_where_nobody_reads_it(self, random_quadratic):
        problem, _ = random_quadratic()
        method = TypeAdapter(Method).validate_python({"name": "look_layersam", "rho": 0.3})
        step = choose_step(method, problem.tensors, problem.state, shows=lambda step: False)
        assert step(0, problem).signals["directional_curvature"].isnan()

    @pytest.mark.parametrize("alpha", [0.5, "auto", "fresh_ratio"])
    def test_no_amplification_is_told_where_there_is_nothing_to_reuse(self, quadratic, alpha):
        """The gradient is the same everywhere, so g_s = g and g_v is gated."""
        problem = quadratic(torch.zeros(3, 3), torch.ones(3), torch.zeros(3))
        signals = problem.step_of(LookSAM(name="looksam", alpha=alpha))(0, problem).signals
        assert signals["orthogonal_ratio"] == 0
        assert signals["reuse_amplification"].isnan()


class TestNotFinite:
    @pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=["momentum", "plain", "adamw"])
    @pytest.mark.parametrize("value", [torch.nan, torch.inf])
    @pytest.mark.parametrize("where", ["loss of pass 1", "gradient of pass 1", "loss of pass 2", "gradient of pass 2"])
    def test_the_weights_stay_bit_for_bit_and_for_good(self, random_quadratic, optimizer, value, where):
        problem, _ = random_quadratic()
        for weight, gradient in zip(problem.weights, problem.gradients, strict=True):
            weight.grad = gradient
        guarded = GuardedOptimizer(optimizer, problem.weights)
        step = problem.step_of(LookSAM(name="looksam", rho=0.05, k=2))
        for t in range(2):
            guarded.step(step(t, problem).finite)
        assert guarded.bad == 0
        before, passes = problem.weight_vector(), problem.evaluations

        def spoilt():
            if problem.evaluations - passes == int(where[-1]):
                if where.startswith("gradient"):
                    problem.gradients[1][0] = value
                else:
                    problem.numbers.fill_(value)

        problem.after_pass = spoilt

        descent = step(2, problem)
        assert not descent.finite
        guarded.step(descent.finite)
        assert torch.equal(problem.weight_vector(), before)
        # The host may read the flag late, so good steps after a bad one must not move the weights either.
        for t in range(3, 6):
            guarded.step(step(t, problem).finite)
        assert torch.equal(problem.weight_vector(), before)
        assert guarded.bad == 1

    def test_a_host_that_reads_late_names_the_same_step(self, run, small_spec, monkeypatch):
        spec = small_spec(
            optimizer={"name": "sgd", "lr": 1000.0}, steps=500, logging={"every_steps": 500},
            evaluation={"every_epochs": 500},
        )  # fmt: skip
        details = []
        for lag in (0, 2):
            monkeypatch.setattr("trainer.loop.LateFlags", lambda device, lag=lag: LateFlags(device, lag))
            with pytest.raises(TrainerError) as caught:
                run(spec)
            assert caught.value.reason is EndReason.loss_not_finite
            details.append(caught.value.detail)
        assert details[0] == details[1]

    def test_a_stop_does_not_save_what_is_unread(self, run, small_spec, monkeypatch, tmp_path):
        """A host that reads late stops at a step whose own flags, and those of the one before, it has not seen."""
        diverging = small_spec(
            optimizer={"name": "sgd", "lr": 1000.0}, steps=500, logging={"every_steps": 500},
            evaluation={"every_epochs": 500}, checkpoint={"every_steps": 500},
        )  # fmt: skip
        with pytest.raises(TrainerError) as caught:
            run(diverging)
        first_bad = int(re.search(r"step (\d+) was", caught.value.detail)[1])
        monkeypatch.setattr("trainer.loop.LateFlags", lambda device: LateFlags(device, 2))
        asked = iter(range(1, 500))
        with pytest.raises(TrainerError, match=f"of step {first_bad} was not finite"):
            run(diverging, folder=tmp_path / "stopped", stop=lambda: next(asked) == first_bad - 1)
        assert checkpoint.found_in(tmp_path / "stopped") == []

    def test_a_late_reader_trains_the_same(self, run, small_spec, monkeypatch):
        at_once = run(small_spec(method={"name": "looksam"}))
        monkeypatch.setattr("trainer.loop.LateFlags", lambda device: LateFlags(device, 2))
        late = run(small_spec(method={"name": "looksam"}))
        assert all(torch.equal(late.weights[name], value) for name, value in at_once.weights.items())
        asked = iter(range(100))
        quiet = small_spec(steps=40, logging={"every_steps": 100}, evaluation={"every_epochs": 100})
        stopped = run(quiet, stop=lambda: next(asked) == 20)
        assert stopped.outcome.step == 23, "the wish of step 21 is read two steps later"


class TestLateFlags:
    def test_gives_each_step_once_in_order_after_the_lag(self):
        flags = LateFlags(CPU, lag=2)
        seen = []
        for step in range(1, 6):
            flags.push(step, torch.tensor([float(step), 0.0]))
            seen.append([at for at, _ in flags.read(everything=step == 4)])
        assert seen == [[], [], [1], [2, 3, 4], []]


def batch_gradient(spec, model=None):
    images = data.load(spec, CPU)
    if model is None:
        from trainer.model import build

        model = build(spec, images, World.single())
    weights = list(model.parameters())
    reduced = ReducedGradients(weights, World.single(), NUM_SCALARS)
    return BatchGradient(model, images.train, spec, plan_batches(spec, 1), World.single(), reduced), weights


def spoil_passes(monkeypatch, spoilt: set[int]) -> None:
    """Makes the gradient of these passes, counted from 1, not finite."""
    forward_backward, seen = BatchGradient.forward_backward, iter(range(1, 10**6))

    def watched(self, micro_batch, *, perturbed=False):
        forward_backward(self, micro_batch, perturbed=perturbed)
        if next(seen) in spoilt:
            self.reduced.tensors[0].fill_(torch.inf)

    monkeypatch.setattr(BatchGradient, "forward_backward", watched)


class TestMasks:
    """M12: the second pass sees the masks of the first."""

    def test_a_step_evaluated_twice_gives_the_same_bits(self, small_spec):
        arguments = {
            "patch_size": 4, "embed_dim": 16, "depth": 2, "num_heads": 2, "drop_path_rate": 0.5, "proj_drop_rate": 0.3,
            "attn_drop_rate": 0.3,
        }  # fmt: skip
        spec = small_spec(model={"name": "vit_tiny_patch16_224", "arguments": arguments}, micro_batch_size=8)
        gradient, _ = batch_gradient(spec)
        ends = []
        for step in (3, 3, 4):
            gradient.evaluate(step)
            ends.append(torch.cat([tensor.flatten() for tensor in gradient.reduced.tensors]).clone())
        assert torch.equal(ends[0], ends[1])
        gradient.spec = spec.model_copy(update={"seed": 1})  # the same images, other masks
        gradient.evaluate(3)
        assert not torch.equal(ends[0], torch.cat([tensor.flatten() for tensor in gradient.reduced.tensors]))

    def test_keys_differ_by_use_and_place(self):
        places = [(0, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1), (1, 0, 0, 0), (10, 0, 0, 0), (1, 0, 0, 10)]
        keys = {randomness.key(use, *place) for use in ("masks", "order") for place in places}
        assert len(keys) == 2 * len(places)
        assert all(0 <= key < 2**63 for key in keys)


class TestBatchNorm:
    """M13: running statistics are those of the first pass."""

    @staticmethod
    def buffers(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {name: value for name, value in weights.items() if "running" in name or "num_batches" in name}

    def test_statistics_equal_a_base_runs_after_one_step(self, run, small_spec):
        base = run(small_spec(model=BATCHNORM, steps=1))
        found = self.buffers(base.weights)
        assert found, "the model has running statistics"
        assert any(value.dtype == torch.int64 and value == 1 for value in found.values())
        for method in ({"name": "sam"}, {"name": "looksam"}):
            other = self.buffers(run(small_spec(model=BATCHNORM, steps=1, method=method)).weights)
            assert all(torch.equal(other[name], value) for name, value in found.items())

    @pytest.mark.parametrize("method", [{"name": "none"}, {"name": "looksam", "k": 2}])
    def test_activation_checkpointing_updates_them_once(self, run, small_spec, method):
        """Its backward runs forward passes again, in training mode."""
        changes = {"model": BATCHNORM, "steps": 3, "micro_batch_size": 16, "method": method}
        plain = run(small_spec(**changes))
        other = run(small_spec(**changes, execution={"activation_checkpointing": True}))
        assert all(torch.equal(other.weights[name], value) for name, value in plain.weights.items())
        assert {int(v) for name, v in other.weights.items() if "num_batches" in name} == {3 * 2}

    @pytest.mark.parametrize("perturbation", ["global", "per_microbatch"])
    @pytest.mark.parametrize("spoilt", [1, 2])
    def test_a_step_taken_again_in_fp16_updates_them_once(self, run, small_spec, monkeypatch, perturbation, spoilt):
        spec = small_spec(
            model=BATCHNORM, steps=1, precision="fp16", method={"name": "sam", "perturbation": perturbation}
        )
        smooth = run(spec)
        spoil_passes(monkeypatch, {spoilt})
        rough = run(spec)
        assert rough.outcome.gradient_evaluations > smooth.outcome.gradient_evaluations
        found = self.buffers(smooth.weights)
        assert all(torch.equal(rough.weights[name], value) for name, value in found.items())

    def test_an_exception_in_the_second_pass_leaves_weights_and_statistics(self, small_spec):
        from trainer.passes import Tensors
        from trainer.step import MethodState, choose_step

        spec = small_spec(model=BATCHNORM)
        gradient, weights = batch_gradient(spec)
        model = gradient.model
        gradient.evaluate(0)
        after_first_pass = {name: value.clone() for name, value in model.state_dict().items()}
        for buffer, value in zip(model.buffers(), [torch.zeros_like(b) for b in model.buffers()], strict=True):
            buffer.copy_(value)
        fresh = {name: value.clone() for name, value in model.state_dict().items()}

        class FailsInTheSecondBackward(BatchGradient):
            def forward_backward(self, micro_batch, *, perturbed=False):
                super().forward_backward(micro_batch, perturbed=perturbed)
                if perturbed:
                    raise RuntimeError("in the middle of the second pass")

        gradient.__class__ = FailsInTheSecondBackward

        tensors = Tensors(weights=weights, gradients=gradient.reduced.tensors, buffers=list(model.buffers()))
        step = choose_step(LookSAM(name="looksam"), tensors, MethodState.fresh(CPU))
        with pytest.raises(RuntimeError, match="second pass"):
            step(0, gradient.at(0))
        now = model.state_dict()
        for name, _ in model.named_parameters():
            assert torch.equal(now[name], after_first_pass[name])
        assert any(not torch.equal(now[name], fresh[name]) for name, _ in model.named_buffers())
        once, _ = batch_gradient(spec)
        for buffer in once.model.buffers():
            buffer.zero_()
        once.evaluate(0)
        for name, value in once.model.named_buffers():
            assert torch.equal(now[name], value), "as after exactly one pass"

    def test_one_value_per_channel_is_refused_by_the_field(self, run, small_spec):
        # 8 x 8 images shrink to 1 x 1 inside, and a pass of one image then has one value per channel.
        with pytest.raises(TrainerError, match="micro_batch_size is 1: BatchNorm") as caught:
            run(small_spec(model=BATCHNORM, micro_batch_size=1))
        assert caught.value.reason is EndReason.spec_rejected_by_trainer


class TestWeightsWithoutGradient:
    """M5: frozen and unreached weights are not touched, not even by decay."""

    @pytest.mark.parametrize("method", [{"name": "none"}, {"name": "looksam", "alpha": 0.7}])
    def test_frozen_and_unused_stay_bitwise(self, run, small_spec, monkeypatch, method):
        create = timm.create_model
        kept: dict[str, torch.Tensor] = {}

        def create_with_spares(*arguments, **options):
            model = create(*arguments, **options)
            model.unused = torch.nn.Linear(3, 3)
            model.pos_embed.requires_grad_(False)
            kept.update({"unused.weight": model.unused.weight.clone(), "pos_embed": model.pos_embed.clone()})
            return model

        monkeypatch.setattr(timm, "create_model", create_with_spares)
        result = run(small_spec(method=method, optimizer={"name": "adamw", "lr": 0.01, "weight_decay": 1.0}))
        assert torch.equal(result.weights["unused.weight"], kept["unused.weight"])
        assert torch.equal(result.weights["pos_embed"], kept["pos_embed"])
        assert all(value.isfinite().all() for value in result.weights.values())
