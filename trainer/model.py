"""The network: built by timm from the spec, initialised by the seed, the same on every rank."""

from __future__ import annotations

import re
from typing import Any, Protocol, cast

import timm
import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule

from trainer import randomness, sharding
from trainer.contract.spec import TrainingSpec
from trainer.datasets.image_set import DTYPES, VisionData
from trainer.errors import first_line, is_out_of_memory, rejected
from trainer.parallel import World


class InputShape(Protocol):
    """What the data decides of a network: `VisionData` and `Preparation` say it."""

    @property
    def num_classes(self) -> int: ...
    @property
    def channels(self) -> int: ...
    @property
    def side(self) -> int: ...


def build(spec: TrainingSpec, data: VisionData, world: World) -> nn.Module:
    """A network on the rank's device; where it is to be sharded whole on the CPU, for `shard_`.

    Raises TrainerError(spec_rejected_by_trainer) naming the field, where timm or the first forward pass refuses.
    """
    randomness.seed_initialisation(spec.seed)
    is_sharded = sharding.is_on(spec, world)
    device = torch.device("cpu") if is_sharded else world.device
    model = create(spec, data).to(device=device, dtype=DTYPES[spec.precision])
    if spec.execution.channels_last:
        model = model.to(memory_format=torch.channels_last)
    if spec.execution.activation_checkpointing:
        _checkpoint_activations(model, spec)
    take_first_(model, world)  # equal already where all ranks run the same software on the same hardware
    if not is_sharded:
        _try_out(model, spec, data, world.device)
    return model.train()


def shard_(model: nn.Module, spec: TrainingSpec, data: VisionData, world: World) -> None:
    """Shares a network out over the ranks; raises as `build` does."""
    sharding.shard_(model, world)
    _try_out(model, spec, data, world.device)
    model.train()


def take_first_(model: nn.Module, world: World) -> None:
    """Gives every rank rank 0's weights and buffers. They pass the device one by one, wherever the model is."""
    with torch.no_grad():
        for tensor in [*model.parameters(), *model.buffers()]:
            tensor.copy_(world.from_first_(tensor.detach().to(world.device)))


def keep_buffers_of_first(model: nn.Module, world: World) -> None:
    """Gives every rank rank 0's running statistics: each rank's own cover only its share of the batches."""
    if world.group is not None:
        with torch.no_grad():
            for buffer in model.buffers():
                world.from_first_(buffer)


def _checkpoint_activations(model: nn.Module, spec: TrainingSpec) -> None:
    try:
        model.set_grad_checkpointing(True)  # type: ignore[operator]
    except (AttributeError, AssertionError) as error:
        raise rejected(
            f"execution.activation_checkpointing is true: {spec.model.name} cannot do it in timm. Set it to false."
        ) from error


def create(spec: TrainingSpec, shape: InputShape) -> nn.Module:
    """The network in float32 on the CPU; the weights are drawn from torch's stream as it stands.

    Raises TrainerError(spec_rejected_by_trainer) naming the field, where timm refuses.
    """
    try:
        return construct(spec, shape)
    except Exception as error:  # timm runs hundreds of constructors, and anything may come out of them
        if is_out_of_memory(error):
            raise
        raise rejected(_refusal(spec, error)) from error


def construct(spec: TrainingSpec, shape: InputShape, *, pretrained: bool = False) -> nn.Module:
    """`create` without a translation of timm's errors; `pretrained` fetches timm's weights, adapted to the shape."""
    arguments: dict[str, Any] = {
        **spec.model.arguments, "num_classes": shape.num_classes, "in_chans": shape.channels, "pretrained": pretrained,
    }  # fmt: skip
    try:
        return cast(nn.Module, timm.create_model(spec.model.name, img_size=shape.side, **arguments))
    except TypeError as error:
        if "img_size" not in str(error):
            raise
        # Convolutional networks take any size and no such argument. The first try drew from the seeded stream.
        randomness.seed_initialisation(spec.seed)
        return cast(nn.Module, timm.create_model(spec.model.name, **arguments))


def _refusal(spec: TrainingSpec, error: Exception) -> str:
    unknown = re.search(r"unexpected keyword argument '(\w+)'", str(error))
    if unknown and unknown[1] in spec.model.arguments:
        name = unknown[1]
        value = spec.model.arguments[name]
        return f"model.arguments.{name} is {value!r}: {spec.model.name} has no such argument. Remove it."
    return (
        f"model.arguments is {spec.model.arguments!r}: timm could not build {spec.model.name} with it "
        f"({type(error).__name__}: {first_line(error)}). Change the arguments or `model.image_size`."
    )


def _try_out(model: nn.Module, spec: TrainingSpec, data: VisionData, device: torch.device) -> None:
    """One forward pass of two images: a patch size that does not fit shows here, not in the middle of a step."""
    images = torch.zeros(2, data.channels, data.side, data.side, dtype=DTYPES[spec.precision], device=device)
    model.eval()
    try:
        with torch.no_grad():
            logits = model(images)
    except (RuntimeError, ValueError, TypeError, AssertionError, IndexError) as error:
        if is_out_of_memory(error):
            raise
        if isinstance(model, FSDPModule):
            raise sharding.refusal(error, spec.model.name) from error
        raise rejected(
            f"model: {spec.model.name} with {spec.model.arguments!r} cannot take images of "
            f"{data.channels} x {data.side} x {data.side} ({first_line(error)}). "
            "Change `model.arguments` or `model.image_size`."
        ) from error
    expected = (2, data.num_classes)
    if not isinstance(logits, Tensor) or tuple(logits.shape) != expected:
        found = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise rejected(
            f"model.name is {spec.model.name!r}: must give one score per image and class, shape {expected}, gives "
            f"{found}. Take a classification model."
        )
