"""The first weights of a run that does not start from random ones: `model.init_from`. A resume passes this by."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import timm
import torch
from torch import Tensor, nn

from trainer import checkpoint, model, randomness, stored_weights
from trainer.contract.ends import EndReason
from trainer.contract.spec import TrainingSpec
from trainer.datasets.patience import waiting_for
from trainer.datasets.roots import DataRoots, shown
from trainer.errors import TrainerError, first_line, rejected
from trainer.listener import Listener
from trainer.parallel import World

MAX_NAMED = 3
"""Tensors that an error names."""
MAX_TOLD_BYTES = 4096
"""Of an error that rank 0 shares with the others."""
NOTICE = "initial_weights"


def load_(
    network: nn.Module, spec: TrainingSpec, shape: model.InputShape, world: World, tell: Listener, *,
    of_run: Sequence[Path], roots: Sequence[str] | None,
) -> None:  # fmt: skip
    """Overwrites the weights and buffers of `network` as `spec.model.init_from` says; nothing where it is off.

    Rank 0 reads, the others get its values. `of_run`: checkpoints of the run that `init_from.run` names, newest first.
    `roots`: folders in which paths must lie; None: anywhere. Raises TrainerError on every rank: `data_unreadable` where
    there is nothing to read, `spec_rejected_by_trainer` where it does not fit.
    """
    if spec.model.init_from is None:
        return
    failure = TrainerError(EndReason.trainer_crashed, "Rank 0 failed to load the first weights; see its log.")
    told = _encoded(failure).to(world.device)
    try:
        if world.is_first:
            # Fetching timm's weights and hashing a large checkpoint take minutes, in which no pass ends.
            sentence = waiting_for(lambda: _load_first_(network, spec, shape, of_run, DataRoots(roots)), world.passed)
            tell.notice(NOTICE, sentence, 0)
            told.zero_()
    except TrainerError as error:
        told.copy_(_encoded(error))
        raise
    finally:
        world.from_first_(told)  # also where rank 0 failed: the others must not wait for ever, and end alike
    if told.any():
        raise _decoded(told)
    model.take_first_(network, world)


def _encoded(error: TrainerError) -> Tensor:
    """uint8 of shape (MAX_TOLD_BYTES,), never all zero; a longer sentence is cut."""
    text = f"{error.reason}\n{error.detail}".encode()[:MAX_TOLD_BYTES]
    return torch.frombuffer(bytearray(text.ljust(MAX_TOLD_BYTES, b"\0")), dtype=torch.uint8)


def _decoded(told: Tensor) -> TrainerError:
    text = bytes(told.tolist()).rstrip(b"\0").decode("utf-8", "ignore")
    reason, _, detail = text.partition("\n")
    return TrainerError(EndReason(reason), detail)


def _load_first_(
    network: nn.Module, spec: TrainingSpec, shape: model.InputShape, of_run: Sequence[Path], roots: DataRoots
) -> str:
    """Returns what was done, as a sentence for the timeline."""
    init = spec.model.init_from
    assert init is not None
    if init.timm_pretrained:
        return _from_timm_(network, spec, shape)
    if init.folder is not None:
        folder = Path(roots.find("model.init_from.folder", init.folder, holding="model.safetensors"))
        named, tensors = shown(str(folder)), stored_weights.tensors_in(folder)
    else:
        if init.checkpoint is not None:
            found = roots.find("model.init_from.checkpoint", init.checkpoint, holding="a checkpoint of Basin")
            path = stored_weights.newest_checkpoint(Path(found))
        else:
            path = stored_weights.first_complete(_told(of_run, init.run))
        named, tensors = shown(str(path)), stored_weights.trained(checkpoint.read(path))
    return f"Started with the weights of {named}{fit_(network, tensors, named, spec.model.name)}."


def _told(of_run: Sequence[Path], run: str | None) -> list[Path]:
    if not of_run:
        raise rejected(
            f"model.init_from.run is {run}: has no checkpoint on the storage, or this is not the service, which alone "
            "knows runs. Wait for its first checkpoint, or name a path in model.init_from.checkpoint."
        )
    return list(of_run)


def fit_(network: nn.Module, tensors: dict[str, Tensor], named: str, model_name: str) -> str:
    """Copies `tensors` into the network; its head stays as it is where the other has none or other classes.

    Returns "" or how the head was treated. Raises TrainerError(spec_rejected_by_trainer) naming what does not fit.
    """
    own = network.state_dict()
    head = _tensors_of_head(network, own)
    anew = bool(head) and (
        not head & tensors.keys()
        or any(
            name in tensors
            and tensors[name].shape != own[name].shape
            and tensors[name].shape[1:] == own[name].shape[1:]
            for name in head
        )
    )
    left_out = head if anew else set[str]()
    body = {name: tensor for name, tensor in tensors.items() if name not in left_out}
    wrong = [f"{name} is missing" for name in own if name not in body and name not in left_out]
    wrong += [
        f"{name} is {tuple(tensor.shape)} there and {tuple(own[name].shape)} here"
        if name in own
        else f"{name} is not in this model"
        for name, tensor in body.items()
        if name not in own or own[name].shape != tensor.shape
    ]
    if wrong:
        more = f", and {len(wrong) - MAX_NAMED} more" if len(wrong) > MAX_NAMED else ""
        raise rejected(
            f"model.init_from: the weights of {named} do not fit {model_name} with these arguments and this image "
            f"size: {', '.join(wrong[:MAX_NAMED])}{more}. Take the model, the arguments and the image size that they "
            "were trained with."
        )
    network.load_state_dict(body, strict=False)  # all but the head is there
    if not anew:
        return ""
    classes = own[min(head)].shape[0]
    return f"; the head was drawn anew for {classes} classes ({', '.join(sorted(head))})"


def _tensors_of_head(network: nn.Module, own: dict[str, Tensor]) -> set[str]:
    """Names of the classifier's tensors, as timm's configuration of the model names it."""
    names = (getattr(network, "pretrained_cfg", None) or {}).get("classifier") or ()
    heads = (names,) if isinstance(names, str) else tuple(names)
    return {f"{head}.{part}" for head in heads for part in ("weight", "bias")} & own.keys()


def _from_timm_(network: nn.Module, spec: TrainingSpec, shape: model.InputShape) -> str:
    """timm's own adaptation: of position embeddings to the size, of the first convolution to the channels."""
    randomness.seed_initialisation(spec.seed)
    try:
        offered = model.construct(spec, shape, pretrained=True)
    except Exception as error:  # timm's, the hub's and the network's, of any kind
        raise rejected(
            f"model.init_from.timm_pretrained: the weights that timm {timm.__version__} offers for {spec.model.name} "
            f"could not be loaded ({type(error).__name__}: {first_line(error)}). Without the network they must lie in "
            "the machine's hub cache (HF_HOME); else copy them to a data root and name model.init_from.folder."
        ) from error
    config = getattr(offered, "pretrained_cfg", None) or {}
    network.load_state_dict(offered.state_dict())
    head = "" if config.get("num_classes") == shape.num_classes else (
        f"; the head was drawn anew for {shape.num_classes} classes"
    )  # fmt: skip
    source = config.get("hf_hub_id") or config.get("url") or "its registry"
    return f"Started with the weights that timm offers for {spec.model.name} ({source}){head}."
