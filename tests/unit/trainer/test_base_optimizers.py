"""LARS, Lion and Muon: timm's, fed d by hand; a step that is not finite leaves everything; resume; layer decay."""

from __future__ import annotations

import pytest
import timm
import torch
from timm.optim import create_optimizer_v2

from trainer.contract.optimizers import LARS, AdamW, Lion, Muon
from trainer.optimizer import GuardedOptimizer, build

SPECS = [
    pytest.param(LARS(name="lars", lr=2.0, weight_decay=0.01), {"momentum": 0.9, "trust_coeff": 0.001}, id="lars"),
    pytest.param(Lion(name="lion", lr=0.01, weight_decay=0.1), {"betas": (0.9, 0.99)}, id="lion"),
    pytest.param(Muon(name="muon", lr=0.02, weight_decay=0.1), {"momentum": 0.95, "nesterov": True}, id="muon"),
]


def small_weights() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator).requires_grad_() for shape in [(4, 3), (3,), (3, 2), (2,)]]


@pytest.mark.parametrize(("spec", "options"), SPECS)
def test_is_timms_fed_the_direction_by_hand(spec, options):
    ours, theirs = small_weights(), small_weights()
    guarded = GuardedOptimizer(spec, ours)
    adapts = [{"always_adapt": True}, {"always_adapt": False}] if spec.name == "lars" else [{}, {}]
    plain = create_optimizer_v2(
        [{"params": theirs[::2], "weight_decay": spec.weight_decay, **adapts[0]},
         {"params": theirs[1::2], "weight_decay": 0.0, **adapts[1]}],
        opt=spec.name, lr=spec.lr, **options,
    )  # fmt: skip
    generator = torch.Generator().manual_seed(1)
    for _ in range(10):
        for a, b in zip(ours, theirs, strict=True):
            a.grad = torch.randn(a.shape, generator=generator)
            b.grad = a.grad.clone()
        guarded.step(torch.tensor(True))
        plain.step()
        assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
    assert all(not torch.equal(a, b) for a, b in zip(ours, small_weights(), strict=True)), "each tensor is trained"


@pytest.mark.parametrize(("spec", "options"), SPECS)
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("good_steps", [0, 2])
def test_a_step_that_is_not_finite_leaves_weights_and_moments(spec, options, value, good_steps):
    weights = small_weights()
    guarded = GuardedOptimizer(spec, weights)
    for weight in weights:
        weight.grad = torch.ones_like(weight)
    for _ in range(good_steps):
        guarded.step(torch.tensor(True))
    before = [weight.detach().clone() for weight in weights]
    weights[0].grad[0, 0] = value
    guarded.step(torch.tensor(False))
    weights[0].grad[0, 0] = 1.0
    guarded.step(torch.tensor(True))  # the host may read the flag late: good steps must not move them, either
    assert all(torch.equal(weight, kept) for weight, kept in zip(weights, before, strict=True))
    kept = [value for state in guarded.base.state.values() for value in state.values() if torch.is_tensor(value)]
    assert all(moment.isfinite().all() for moment in kept)


@pytest.mark.parametrize("optimizer", [
    {"name": "lars", "lr": 5.0}, {"name": "lion", "lr": 0.001}, {"name": "muon", "lr": 0.01},
    {"name": "adamw", "lr": 0.003, "layer_decay": 0.7},
])  # fmt: skip
def test_learns_and_goes_on_bit_for_bit(run, small_spec, optimizer):
    spec = small_spec(optimizer=optimizer, method={"name": "looksam", "k": 3}, steps=30)
    whole = run(spec)
    losses = [values["train_loss"] for values in whole.recorder.points.values() if "train_loss" in values]
    assert losses[-1] < losses[0]
    asked = iter(range(100))
    part = run(spec, stop=lambda: next(asked) == 13)
    rest = run(spec, folder=part.folder, resume=[part.folder / "checkpoints" / "step-00000014"])
    assert all(torch.equal(rest.weights[name], value) for name, value in whole.weights.items())


def test_layer_decay_goes_down_from_the_head_layer_by_layer():
    model = timm.create_model("vit_tiny_patch16_224", img_size=16, patch_size=4, embed_dim=16, depth=2, num_heads=2)
    spec = AdamW(name="adamw", lr=1.0, weight_decay=0.1, layer_decay=0.5)
    guarded = GuardedOptimizer(spec, list(model.parameters()), model)
    guarded.set_learning_rate(8.0)
    rates = {id(weight): group["lr"] for group in guarded.base.param_groups for weight in group["params"]}
    named = dict(model.named_parameters())
    head, block, stem = (named[name] for name in ("head.weight", "blocks.1.mlp.fc1.weight", "patch_embed.proj.weight"))
    assert (rates[id(head)], rates[id(block)]) == (8.0, 4.0)
    assert rates[id(stem)] < rates[id(named["blocks.0.mlp.fc1.weight"])] < 4.0
    decays = {id(weight): group["weight_decay"] for group in guarded.base.param_groups for weight in group["params"]}
    assert all((decays[id(weight)] > 0) == (weight.ndim > 1) for weight in named.values())


def test_without_layer_decay_no_model_is_needed():
    assert build(AdamW(name="adamw", lr=0.5), small_weights()).param_groups[0]["lr"] == 0.5
