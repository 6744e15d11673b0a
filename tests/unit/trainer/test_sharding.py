"""How a network is cut, what is refused, and passes in step. Two ranks: tests/integration/training/test_sharding.py."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import timm
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from trainer import model, parallel, sharding
from trainer.contract.ends import EndReason
from trainer.contract.spec import TrainingSpec
from trainer.datasets.in_memory import ImagesInMemory
from trainer.errors import TrainerError
from trainer.parallel import World

CPU = torch.device("cpu")


@pytest.fixture
def alone():
    """A process group of one rank: torch shards over it as over many."""
    world = parallel.join(rank=0, size=1, device=CPU, store=dist.HashStore())
    yield world
    parallel.leave(world)


def names_of_blocks(name: str) -> list[str]:
    with torch.device("meta"):
        network = timm.create_model(name)
    names = {id(module): name for name, module in network.named_modules()}
    return [names[id(block)] for block in sharding._blocks(network)]


class TestBlocks:
    def test_of_a_transformer_are_its_blocks(self):
        assert names_of_blocks("vit_base_patch16_224") == [f"blocks.{number}" for number in range(12)]

    def test_inner_ones_come_first_and_stages_only_for_what_is_left(self):
        blocks = names_of_blocks("swin_tiny_patch4_window7_224")
        # The last two stages hold a large layer beside their blocks; the first two hold little.
        assert blocks[-2:] == ["layers.2", "layers.3"]
        assert {"layers.2.blocks.5", "layers.3.blocks.1"} <= set(blocks[:-2])

    def test_are_none_where_nothing_stands_in_a_row(self):
        assert names_of_blocks("regnetx_002") == []


class Row(nn.Module):
    """Two blocks in a row, and what the forward pass does with them."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(4, 4, bias=False), nn.Unflatten(1, (2, 2))) for _ in "ab")
        self.head = nn.Linear(4, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        out = images.flatten(1)
        for block in self.blocks:
            assert isinstance(block, nn.Sequential)
            out = block(out)  # a view
            out += 1.0
            out = out.flatten(1)
        return self.head(out)


def sharded(network: nn.Module, world: World) -> None:
    spec = TrainingSpec.model_validate({
        "model": {"name": "vit_tiny_patch16_224"}, "optimizer": {"name": "sgd", "lr": 0.1}, "steps": 1,
        "global_batch_size": 2, "execution": {"sharding": "full"}, "resources": {"workers": 2},
    })  # fmt: skip
    model.shard_(network, spec, SimpleNamespace(channels=1, side=2, num_classes=3), world)  # type: ignore[arg-type]


@pytest.mark.filterwarnings("error:FSDP2-wrapped module")
def test_a_view_written_to_in_place_has_the_right_gradient(alone):
    network = Row()
    images = torch.randn(2, 1, 2, 2)
    expected = torch.autograd.grad(network(images).square().sum(), list(network.parameters()))
    sharded(network, alone)
    weights = sharding.weights_of(network, alone)
    reduced = weights.gradients(num_scalars=1)
    network(images).square().sum().backward()
    for found, gradient in zip(reduced.tensors, expected, strict=True):
        assert torch.equal(found, gradient)
    for part, parameter, found in zip(weights.here, network.parameters(), reduced.tensors, strict=True):
        part -= found  # reaches the network
        assert torch.equal(parameter.full_tensor().detach(), part)  # type: ignore[attr-defined]


def test_a_weight_without_an_axis_is_refused_by_the_field(alone):
    network = Row()
    network.temperature = nn.Parameter(torch.tensor(1.0))
    with pytest.raises(TrainerError, match=r"execution\.sharding is full: torch cannot share out this model") as caught:
        sharded(network, alone)
    assert caught.value.reason is EndReason.spec_rejected_by_trainer


def test_a_block_that_is_read_without_being_computed_is_refused_by_the_field(alone):
    class Reading(Row):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.head(images.flatten(1) @ self.blocks[0][0].weight)  # type: ignore[index]

    with pytest.raises(TrainerError, match=r"execution\.sharding is full: vit_tiny.* cannot be computed so"):
        sharded(Reading(), alone)


@given(num_images=st.integers(1, 40), ranks=st.integers(2, 9), batch_size=st.integers(1, 12))
def test_all_ranks_make_as_many_passes_and_count_each_image_once(num_images: int, ranks: int, batch_size: int) -> None:
    images = ImagesInMemory(pixels=torch.zeros(num_images, 1, 1, 1), labels=torch.arange(num_images))
    spec = SimpleNamespace(execution=SimpleNamespace(sharding="full"))
    passes = []
    for rank in range(ranks):
        world = World(rank=rank, size=ranks, device=CPU, group=object())  # type: ignore[arg-type]
        passes.append(list(sharding.in_step(images, spec, world, batch_size)))  # type: ignore[arg-type]
    assert len({len(of_rank) for of_rank in passes}) == 1
    counted = [int(label) for of_rank in passes for _, labels, counts in of_rank if counts for label in labels]
    assert sorted(counted) == list(range(num_images))


def test_without_sharding_no_pass_is_added() -> None:
    images = ImagesInMemory(pixels=torch.zeros(3, 1, 1, 1), labels=torch.arange(3))
    spec = SimpleNamespace(execution=SimpleNamespace(sharding="none"))
    world = World(rank=1, size=2, device=CPU, group=object())  # type: ignore[arg-type]
    assert [len(labels) for _, labels, _ in sharding.in_step(images, spec, world, 1)] == [1]  # type: ignore[arg-type]
