"""Sharding: each rank keeps a part of every weight, gradient, moment and of the stored direction (torch's FSDP2).

Before a block of the network is computed, forwards or backwards, its weights are gathered from all ranks; behind it
they are dropped again, and the gradients are summed to the ranks that keep them. So a card holds a rank's share of the
state, and one block's weights. torch cuts a tensor along its first axis, in neighbouring rows: a rank's part may be
smaller than the others', or empty.

The methods and the optimizer work on the parts as they lie in memory, plain tensors; `over_ranks` makes the norms and
inner products those of whole tensors. To write to the parts in place is to write to the network's weights.

A forward pass is one of all ranks: each must make as many as the others (`in_step`).

Checkpoints hold whole tensors, as without sharding, so a run may go on with sharding, without, or on other ranks. To
write one all ranks gather, tensor by tensor; rank 0 needs room for all of it in the memory of its machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer

from trainer.contract.spec import TrainingSpec
from trainer.datasets.image_set import ImageSet
from trainer.errors import first_line, is_out_of_memory, rejected
from trainer.looksam import OverRanks
from trainer.parallel import ReducedGradients, World

LEAST_SHARE = 0.01
"""Of the network's elements, that a block must hold to be gathered by itself: for less a message costs more than the
memory is worth."""


def is_on(spec: TrainingSpec, world: World) -> bool:
    """A single process has nobody to share with, whatever the spec says."""
    return spec.execution.sharding == "full" and world.group is not None


def shard_(network: nn.Module, world: World) -> None:
    """Cuts the weights of a network on the CPU, the same on all ranks, and moves this rank's parts to its device.

    Raises TrainerError(spec_rejected_by_trainer) where torch cannot cut it.
    """
    assert world.group is not None
    mesh = DeviceMesh.from_group(world.group, world.device.type)
    try:
        # The whole too: else a validation would leave its weights gathered, and stale after the next step.
        for module in [*_blocks(network), network]:
            module.register_forward_hook(_no_view)
            sharded = fully_shard(module, mesh=mesh, reshard_after_forward=True)
            # The loss carries 1/ranks already, so gradients are summed; gloo knows no other reduction.
            sharded.set_gradient_divide_factor(1.0)
            sharded.set_force_sum_reduction_for_comms(True)
    except (RuntimeError, ValueError, AssertionError) as error:
        if is_out_of_memory(error):
            raise
        raise rejected(
            f"execution.sharding is full: torch cannot share out this model ({first_line(error)}). Set it to none."
        ) from error


def refusal(error: Exception, model_name: str) -> Exception:
    """What to raise where the first pass of a sharded network fails."""
    if is_out_of_memory(error):
        return error
    return rejected(
        f"execution.sharding is full: {model_name} cannot be computed so ({first_line(error)}). Set it to none, or "
        "change `model.arguments` or `model.image_size`."
    )


def _blocks(network: nn.Module) -> list[nn.Module]:
    """The modules that stand in a row and hold a good share of the weights beside those inside them; inner ones first.

    A layer without parts is none: its parent may read its weights without computing it. A network without such rows is
    gathered as a whole.
    """
    rows = [module for module in network.modules() if isinstance(module, nn.Sequential | nn.ModuleList)]
    in_a_row = {id(member) for row in rows for member in row}
    least = LEAST_SHARE * sum(weight.numel() for weight in network.parameters())
    blocks: list[nn.Module] = []
    taken: set[nn.Parameter] = set()
    for _, module in sorted(network.named_modules(), key=lambda named: -named[0].count(".")):
        left = set(module.parameters()) - taken
        is_block = id(module) in in_a_row and any(module.children()) and not isinstance(module, nn.ModuleList)
        if is_block and sum(weight.numel() for weight in left) >= least:
            blocks.append(module)
            taken |= left
    return blocks


def _no_view(module: nn.Module, inputs: object, output: object) -> Tensor | None:
    """An output's gradient tells torch to gather the block again; it is missed where a view is written to in place."""
    return output.clone() if isinstance(output, Tensor) and output._is_view() else None


def in_step(
    images: ImageSet, spec: TrainingSpec, world: World, batch_size: int
) -> Iterator[tuple[Tensor, Tensor, float]]:
    """This rank's share of a set as (pixels, labels, 1.0), at most `batch_size` at a time.

    Where the network is sharded, ranks with fewer passes than others repeat the set's first image, with the weight 0.0.
    """
    done = 0
    for pixels, labels in images.share_of(world.rank, world.size, batch_size):
        done += 1
        yield pixels, labels, 1.0
    largest_share = -(-len(images) // world.size)
    if is_on(spec, world) and done < -(-largest_share // batch_size):  # shares differ by one image, so by one pass
        [(pixels, labels)] = images.share_of(0, len(images), 1)
        yield pixels, labels, 0.0


class WholeWeights:
    """Every rank keeps all of the network."""

    over_ranks: OverRanks | None = None
    """Sums numbers of the parts; None where there are none."""
    is_shared = False

    def __init__(self, network: nn.Module, world: World) -> None:
        self.world = world
        self.parameters = [weight for weight in network.parameters() if weight.requires_grad]
        """Trainable weights as the network has them."""
        self.here: list[Tensor] = list(self.parameters)
        """The same as this rank has them, in the same order: what the methods and the optimizer work on."""

    def gradients(self, num_scalars: int) -> ReducedGradients:
        return ReducedGradients(self.here, self.world, num_scalars)

    def gathered(self, parts: Sequence[Tensor]) -> list[Tensor]:
        """One for each trainable weight, whole."""
        return list(parts)

    def parts(self, whole: Sequence[Tensor]) -> list[Tensor]:
        """The other way round, on this rank's device."""
        return [tensor.to(self.world.device) for tensor in whole]

    def state_of(self, network: nn.Module) -> dict[str, Tensor]:
        """Weights and buffers, whole."""
        return network.state_dict()

    def load_(self, network: nn.Module, whole: Mapping[str, Tensor]) -> None:
        """Raises RuntimeError where names or shapes do not fit."""
        network.load_state_dict(whole)

    def state_of_optimizer(self, optimizer: Optimizer) -> dict[str, Any]:
        """Its state_dict, with whole moments."""
        return optimizer.state_dict()

    def load_optimizer_(self, optimizer: Optimizer, whole: dict[str, Any]) -> None:
        """Raises ValueError, KeyError or RuntimeError where it does not fit."""
        optimizer.load_state_dict(whole)


class SharedWeights(WholeWeights):
    """Every rank keeps a part of each tensor. What is gathered is on the CPU, and of use on rank 0 alone."""

    is_shared = True

    def __init__(self, network: nn.Module, world: World) -> None:
        super().__init__(network, world)
        self.over_ranks = world.sum_
        with torch.no_grad():
            self.here = [_part(parameter) for parameter in self.parameters]

    def gradients(self, num_scalars: int) -> ReducedGradients:
        return ShardedGradients(self.here, self.world, num_scalars, self.parameters)

    def gathered(self, parts: Sequence[Tensor]) -> list[Tensor]:
        return [self._whole(part, like) for part, like in zip(parts, self.parameters, strict=True)]

    def parts(self, whole: Sequence[Tensor]) -> list[Tensor]:
        return [self._own(tensor, like) for tensor, like in zip(whole, self.parameters, strict=True)]

    def state_of(self, network: nn.Module) -> dict[str, Tensor]:
        return {
            name: self._whole(_part(tensor), tensor) if isinstance(tensor, DTensor) else tensor
            for name, tensor in network.state_dict().items()
        }

    def load_(self, network: nn.Module, whole: Mapping[str, Tensor]) -> None:
        own = network.state_dict()
        cut = dict(whole)
        for name in own.keys() & whole.keys():
            if isinstance(own[name], DTensor) and own[name].shape == whole[name].shape:  # else it is refused below
                cut[name] = _distributed(self._own(whole[name], own[name]), own[name])
        network.load_state_dict(cut)

    def state_of_optimizer(self, optimizer: Optimizer) -> dict[str, Any]:
        document = optimizer.state_dict()
        state = {
            number: {
                name: self._whole(value, like) if _is_of(value, _part(like).shape) else value
                for name, value in document["state"][number].items()
            }
            for number, like in self._numbered(optimizer)
            if number in document["state"]
        }
        return {**document, "state": state}

    def load_optimizer_(self, optimizer: Optimizer, whole: dict[str, Any]) -> None:
        state = {
            number: {
                name: self._own(value, like) if _is_of(value, like.shape) else value
                for name, value in whole["state"][number].items()
            }
            for number, like in self._numbered(optimizer)
            if number in whole["state"]
        }
        optimizer.load_state_dict({**whole, "state": state})

    def _numbered(self, optimizer: Optimizer) -> list[tuple[int, Tensor]]:
        """The network's weights under the numbers of the optimizer's state_dict."""
        of_part = {id(part): parameter for part, parameter in zip(self.here, self.parameters, strict=True)}
        parts = [part for group in optimizer.param_groups for part in group["params"]]
        return [(number, of_part[id(part)]) for number, part in enumerate(parts)]

    def _whole(self, part: Tensor, like: Tensor) -> Tensor:
        """All ranks must ask. An empty tensor on all but rank 0, which would only throw it away."""
        whole = _distributed(part, like).full_tensor()
        return whole.cpu() if self.world.is_first else torch.empty(0)

    def _own(self, whole: Tensor, like: Tensor) -> Tensor:
        """This rank's rows, as torch deals them out: the same number to each, as far as they go. A copy."""
        rows = -(-whole.shape[0] // self.world.size)
        first = min(self.world.rank * rows, whole.shape[0])
        return whole[first : first + rows].to(like.device, copy=True)


class ShardedGradients(ReducedGradients):
    """The gradients of this rank's parts. The backward passes sum them to it, so the scalars alone are left to send."""

    def __init__(
        self, weights: Sequence[Tensor], world: World, num_scalars: int, parameters: Sequence[Tensor]
    ) -> None:  # fmt: skip
        super().__init__(weights, world, num_scalars, parameters)
        for parameter, gradient in zip(parameters, self.tensors, strict=True):
            # torch adds to a gradient that is there in place, so it stays a view of the buffer.
            parameter.grad = _distributed(gradient, parameter)

    def _sum(self) -> None:
        self._world.sum_(self.scalars)


def weights_of(network: nn.Module, world: World) -> WholeWeights:
    """`SharedWeights` where the network is sharded."""
    return SharedWeights(network, world) if isinstance(network, FSDPModule) else WholeWeights(network, world)


def _part(tensor: Tensor) -> Tensor:
    """This rank's rows, in the memory of the sharded tensor."""
    assert isinstance(tensor, DTensor)
    with torch.no_grad():
        part: Tensor = tensor.to_local()
    return part


def _distributed(part: Tensor, like: Tensor) -> DTensor:
    """The whole of which each rank has a part, cut as `like` is; no copy."""
    assert isinstance(like, DTensor)
    return DTensor.from_local(
        part, like.device_mesh, like.placements, run_check=False, shape=like.shape, stride=like.stride()
    )


def _is_of(value: object, shape: torch.Size) -> bool:
    """Whether an optimizer keeps this element by element; its counters are 0-dim, and no weight is."""
    return isinstance(value, Tensor) and value.shape == shape
