"""Weights that lie in a folder: a checkpoint of ours, or safetensors and config.json in timm's hub layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from trainer import checkpoint, model
from trainer.checkpoint import Saved, Torn
from trainer.contract.spec import TrainingSpec
from trainer.datasets.roots import shown, unreadable
from trainer.errors import TrainerError, first_line
from trainer.preparation import Preparation

WEIGHTS_FILE = "model.safetensors"
CONFIG_FILE = "config.json"
WHAT_IS_TAKEN = (
    f"a checkpoint (step-00000100), a folder that holds checkpoints/, or a folder of {WEIGHTS_FILE} and {CONFIG_FILE}"
)


def is_timm_folder(folder: Path) -> bool:
    return (folder / CONFIG_FILE).is_file()


def newest_checkpoint(folder: Path) -> Path:
    """`folder` itself, or the newest complete one of those in its `checkpoints`. Raises TrainerError."""
    candidates = [folder] if (folder / checkpoint.MANIFEST_FILE).exists() else checkpoint.found_in(folder)
    if not candidates:
        what = "holds no checkpoint" if folder.is_dir() else "is not there"
        raise unreadable(f"{shown(str(folder))} {what}: name {WHAT_IS_TAKEN}.")
    return first_complete(candidates)


def best_checkpoint(folder: Path) -> Path:
    """That of the best validation the newest one knows of; `folder` as in `newest_checkpoint`. Raises TrainerError."""
    newest = newest_checkpoint(folder)
    saved = checkpoint.read(newest)
    step = saved.best.get("step")
    if step is None:
        raise unreadable(
            f"{shown(str(newest))} knows of no validation: it is older than the first one, or than this version. Take "
            "the newest checkpoint."
        )
    path = newest if step == saved.step else newest.with_name(checkpoint.folder_of(newest, step).name)
    try:
        checkpoint.verify(path)
    except Torn as torn:
        raise unreadable(
            f"The best validation was of step {step}, but its checkpoint is not there whole (`checkpoint.keep_best` "
            f"keeps it): {torn}. Take the newest checkpoint."
        ) from torn
    return path


def first_complete(candidates: list[Path]) -> Path:
    """Raises TrainerError(data_unreadable): these weights are what a new run or an export starts with, its data."""
    try:
        index, _ = checkpoint.newest_complete(candidates)
    except TrainerError as error:
        raise unreadable(f"{error.detail} Name another checkpoint.") from error
    return candidates[index]


def trained(saved: Saved) -> dict[str, Tensor]:
    """The weights and buffers to use outside of training: their moving average, where the run kept one."""
    return saved.average if saved.average is not None else saved.model


def network_of(saved: Saved, spec: TrainingSpec, preparation: Preparation) -> nn.Module:
    """The trained network in evaluation mode, in float32 on the CPU. Raises TrainerError where the weights do not fit.

    timm builds in float32; weights trained in fp64 are rounded to it.
    """
    network = model.create(spec, preparation)
    try:
        network.load_state_dict(trained(saved))
    except RuntimeError as error:
        raise unreadable(
            f"The checkpoint of step {saved.step} does not fit {spec.model.name} as timm {timm.__version__} builds it "
            f"({' '.join(str(error).split())[:300]}): install the versions that trained it."
        ) from error
    return network.eval()


def tensors_in(folder: Path) -> dict[str, Tensor]:
    """Of `model.safetensors`, on the CPU. Raises TrainerError(data_unreadable)."""
    path = folder / WEIGHTS_FILE
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        reason = "is not there" if not path.exists() else f"could not be read as safetensors ({first_line(error)})"
        raise unreadable(
            f"{shown(str(path))} {reason}: name a folder that `basin run export` or timm wrote."
        ) from error


def config_in(folder: Path) -> dict[str, Any]:
    """`config.json`. Raises TrainerError(data_unreadable)."""
    path = folder / CONFIG_FILE
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise unreadable(f"{shown(str(path))} could not be read ({first_line(error)}).") from error
    if not isinstance(document, dict) or "architecture" not in document:
        raise unreadable(f"{shown(str(path))} must name a timm model as `architecture`: it is of another library.")
    return document


def load_timm_folder(folder: Path) -> nn.Module:
    """The network of an exported folder with its weights, in evaluation mode. Raises TrainerError(data_unreadable)."""
    config_in(folder)
    tensors_in(folder)  # timm would take other files in its place, pickles among them
    try:
        network = cast(nn.Module, timm.create_model(f"local-dir:{folder.resolve()}", pretrained=True))
    except Exception as error:  # timm runs hundreds of constructors, and anything may come out of them
        raise unreadable(
            f"timm {timm.__version__} could not load {shown(str(folder))} "
            f"({type(error).__name__}: {first_line(error)})."
        ) from error
    return network.eval()


def num_parameters(network: nn.Module) -> int:
    return sum(weight.numel() for weight in network.parameters())


def random_images(shape: model.InputShape, num: int = 4) -> Tensor:
    """Standard normal pixels (num, channels, side, side) to compare two networks on; always the same."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(num, shape.channels, shape.side, shape.side, generator=generator)
