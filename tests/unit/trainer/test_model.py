"""Networks by timm: any kind and size, the same for a seed, and a refusal that names the field."""

from __future__ import annotations

import pytest
import torch

from trainer import data
from trainer.contract.ends import EndReason
from trainer.errors import TrainerError
from trainer.model import build
from trainer.parallel import World

WORLD = World.single()


def built(spec):
    return build(spec, data.load(spec, WORLD.device), WORLD)


@pytest.mark.parametrize(
    "model",
    [
        {"name": "vit_tiny_patch16_224", "arguments": {"patch_size": 2, "embed_dim": 32, "depth": 1, "num_heads": 2}},
        {"name": "test_resnet"},
        {"name": "test_convnext", "image_size": 32},
        {"name": "test_vit", "image_size": 32},
    ],
    ids=lambda model: model["name"],
)
def test_transformers_and_convolutional_networks_take_the_datas_size(small_spec, model):
    spec = small_spec(model=model)
    side = spec.model.image_size or 8
    assert built(spec)(torch.zeros(3, 1, side, side)).shape == (3, 10)


def test_the_seed_decides_the_weights(small_spec):
    # test_resnet refuses `img_size` at first: the second try must not start from a stream already drawn from.
    for model in ({"name": "test_resnet"}, small_spec().model.model_dump()):
        first, again, other = (built(small_spec(model=model, seed=seed)).state_dict() for seed in (0, 0, 1))
        assert all(torch.equal(first[name], again[name]) for name in first)
        assert any(not torch.equal(first[name], other[name]) for name in first)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            {"name": "vit_tiny_patch16_224", "arguments": {"dpth": 3}},
            r"model.arguments.dpth is 3: vit_tiny_patch16_224 has no such argument",
        ),
        (
            {"name": "vit_tiny_patch16_224", "arguments": {"patch_size": 4, "embed_dim": 30, "num_heads": 4}},
            r"model.arguments is .*timm could not build vit_tiny_patch16_224 with it",
        ),
        (
            {"name": "vit_tiny_patch16_224", "arguments": {"patch_size": 16}},
            r"model",
        ),
        (
            {"name": "vit_tiny_patch16_224", "arguments": {"patch_size": 4, "global_pool": ""}},
            r"model",
        ),
        ({"name": "vit_tiny_patch16_224", "arguments": {"patch_size": "four"}}, r"model.arguments"),
    ],
)
def test_a_refusal_names_the_field(small_spec, model, message):
    with pytest.raises(TrainerError, match=message) as caught:
        built(small_spec(model=model))
    assert caught.value.reason is EndReason.spec_rejected_by_trainer
    assert "\n" not in caught.value.detail
