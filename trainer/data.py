"""Data: chooses the source that the spec names. What the sources have in common is in `trainer.datasets.image_set`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from trainer.contract.data import (
    DigitsData,
    HuggingFaceData,
    ImageFolderData,
    PreparedImages,
    TorchvisionData,
    WebDatasetData,
)
from trainer.contract.ends import EndReason
from trainer.contract.spec import TrainingSpec
from trainer.datasets import digits, huggingface_sets, image_folder, torchvision_sets, webdataset_shards
from trainer.datasets.catalogue import Found
from trainer.datasets.image_set import VisionData
from trainer.datasets.read_images import serve
from trainer.datasets.roots import DataRoots
from trainer.errors import TrainerError
from trainer.parallel import World


def load(
    spec: TrainingSpec, device: torch.device, *, roots: Sequence[str] | None = None,
    getting_on: Callable[[], None] = lambda: None,
) -> VisionData:  # fmt: skip
    """The images of a run; `close` what comes back.

    `roots`: folders in which the data must lie; None (without the service): anywhere. `getting_on` is called while
    a long search for files goes on. Raises TrainerError: `data_unreadable`, or `spec_rejected_by_trainer` where the
    split cannot be made.
    """
    section = spec.data
    if isinstance(section, DigitsData):
        return digits.load(spec, section, device)
    return serve(spec, section, device, lambda: _find(section, DataRoots(roots), getting_on))


def _find(section: PreparedImages, roots: DataRoots, getting_on: Callable[[], None]) -> Found:
    if isinstance(section, HuggingFaceData):
        return huggingface_sets.find(section, roots, getting_on)
    if isinstance(section, TorchvisionData):
        return torchvision_sets.find(section, roots, getting_on)
    if isinstance(section, WebDatasetData):
        return webdataset_shards.find(section, roots, getting_on)
    assert isinstance(section, ImageFolderData)
    return image_folder.find(section, roots, getting_on)


def check_alike(data: VisionData, world: World) -> None:
    """Raises TrainerError(data_unreadable) on a rank that found other images than rank 0."""
    first = world.from_first_(torch.tensor(data.fingerprint, dtype=torch.int64, device=world.device))
    if int(first) != data.fingerprint:
        raise TrainerError(
            EndReason.data_unreadable,
            f"Rank {world.rank} found other images than rank 0: all machines must see the same data, and nothing may "
            "change it while a run starts. Mount it on all of them and submit again.",
        )
