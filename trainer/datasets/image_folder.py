"""Folders of images: found and split at the start, read by the loader's processes, step after step."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trainer.contract.data import ImageFolderData
from trainer.contract.spec import TrainingSpec
from trainer.datasets import transforms
from trainer.datasets.folder_files import FolderFiles, scan
from trainer.datasets.image_set import Batch, VisionData, share
from trainer.datasets.loader import Loader
from trainer.datasets.order import BatchPlan, EndlessOrder, Indices, split
from trainer.datasets.reading import Read, Reader, Request
from trainer.datasets.roots import DataRoots, shown, unreadable
from trainer.datasets.transforms import Normalise

MAX_KEPT_BYTES = 2 * 1024**3
"""A rank keeps the images of its current step up to here, for the second pass of a refresh; else it reads them twice.
They are kept with a byte per value: 1,024 images of 224 x 224 take 154 MB."""

Loaded = tuple[Tensor, Tensor]
"""uint8 pixels and labels, on the CPU."""


def load(
    spec: TrainingSpec, data: ImageFolderData, device: torch.device, roots: DataRoots, getting_on: Callable[[], None]
) -> VisionData:
    """Raises TrainerError: `data_unreadable`, or `spec_rejected_by_trainer` where the split cannot be made."""
    reader = Reader(transforms.build(spec.model, data))
    loader = Loader(reader, data.loader_workers, pin_memory=device.type == "cuda")
    normalise = Normalise(spec, data, device)
    files = scan(roots.find("data.train", data.train), data.train, roots, getting_on=getting_on)
    fingerprint = files.fingerprint()
    if data.held_out is not None:
        parts = split(files.labels, validation_fraction=data.held_out, split_seed=data.split_seed, keep_one=True)
        train, validation = (_Chosen.of(files, part) for part in parts)
    else:
        assert data.validation is not None
        path = roots.find("data.validation", data.validation)
        others = scan(path, data.validation, roots, getting_on=getting_on)
        train = _Chosen.of(files, np.arange(len(files)))
        validation = _Chosen.of(others, np.arange(len(others)), _answers(files, others))
        fingerprint ^= others.fingerprint()
    return VisionData(
        train=FolderImages(train, loader, normalise), validation=FolderImages(validation, loader, normalise),
        num_classes=len(files.classes), channels=3, side=reader.side, fingerprint=fingerprint, close=loader.close,
        class_names=[shown(name) for name in files.classes],
    )  # fmt: skip


def _answers(train: FolderFiles, validation: FolderFiles) -> Indices:
    """The training classes' numbers of the validation folder's classes."""
    number = {name: i for i, name in enumerate(train.classes)}
    unknown = [name for name in validation.classes if name not in number]
    if unknown:
        more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
        raise unreadable(
            f"{shown(validation.written)}/{shown(unknown[0])}{more} is a class that {shown(train.written)} has no "
            "folder of: add its training images, or remove it."
        )
    return np.array([number[name] for name in validation.classes], dtype=np.int64)


@dataclass(frozen=True, kw_only=True)
class _Chosen:
    """Some of a folder's images, numbered anew. All arrays have one entry an image."""

    files: FolderFiles
    indices: Indices
    """In `files`."""
    folders: Indices
    """Numbers of the class folders they lie in."""
    labels: Indices
    """What the model should answer."""

    @classmethod
    def of(cls, files: FolderFiles, indices: Indices, answers: Indices | None = None) -> _Chosen:
        """`answers`: label of each class folder, where it is not its number."""
        folders = files.labels[indices]
        return cls(
            files=files, indices=indices, folders=folders, labels=folders if answers is None else answers[folders]
        )

    def __len__(self) -> int:
        return len(self.indices)

    def paths(self, numbers: Indices) -> list[str]:
        return self.files.paths(self.indices[numbers], self.folders[numbers])

    def loaded(self, read: Read, numbers: Indices) -> Loaded:
        """Raises TrainerError(data_unreadable) naming the file."""
        if isinstance(read, Tensor):
            return read, torch.from_numpy(self.labels[numbers])
        index = int(self.indices[numbers[read.position]])
        where = self.files.shown(index)
        path = shown(self.paths(numbers)[read.position])
        also = "" if where == path else f" ({path})"
        raise unreadable(
            f"{where}{also} {read.why}. Replace or remove it; `basin data check {shown(self.files.written)}` finds all "
            "such files."
        )


class FolderImages:
    """Images of a folder. At most one iteration of `share_of` at a time."""

    def __init__(self, chosen: _Chosen, loader: Loader, normalise: Normalise) -> None:
        self._chosen, self._loader, self._normalise = chosen, loader, normalise

    def __len__(self) -> int:
        return len(self._chosen)

    def share_of(self, rank: int, num_ranks: int, batch_size: int) -> Iterator[Batch]:
        mine = share(len(self), rank, num_ranks)
        pieces = [mine[start : start + batch_size] for start in range(0, len(mine), batch_size)]
        requests = (Request(self._chosen.paths(numbers), None) for numbers in pieces)
        for numbers, read in zip(pieces, self._loader.aside(requests), strict=True):
            yield self._normalise(*self._chosen.loaded(read, numbers))

    def batches(self, seed: int, plan: BatchPlan, rank: int) -> _Batches:
        return _Batches(self._chosen, self._loader, self._normalise, seed, plan, rank)


class _Batches:
    """The rank's micro-batches are one sequence over all steps, which the loader follows from wherever it is begun."""

    def __init__(
        self, chosen: _Chosen, loader: Loader, normalise: Normalise, seed: int, plan: BatchPlan, rank: int
    ) -> None:
        self._chosen, self._loader, self._normalise, self._seed, self._plan, self._rank = (
            chosen, loader, normalise, seed, plan, rank,
        )  # fmt: skip
        self._order = EndlessOrder(len(chosen), seed)
        self._step = -1
        self._kept: dict[int, Loaded] = {}
        self._kept_bytes = 0
        self._next = -1  # what the stream gives next, counted in micro-batches
        self._followed = -1  # the loader's number of our stream
        self._asked: deque[Indices] = deque()  # of the requests that the loader took from the stream

    def at(self, step: int, micro_batch: int) -> Batch:
        if step != self._step:
            self._step, self._kept_bytes = step, 0
            self._kept.clear()
        if micro_batch not in self._kept:
            loaded = self._read(step * self._plan.num_micro_batches + micro_batch)
            self._kept_bytes += loaded[0].nbytes
            if self._kept_bytes > MAX_KEPT_BYTES:
                return self._normalise(*loaded)
            self._kept[micro_batch] = loaded
        return self._normalise(*self._kept[micro_batch])

    def _read(self, place: int) -> Loaded:
        if self._step * self._plan.num_micro_batches <= place < self._next:  # a second pass over more than is kept
            numbers, request = self._request(self._order, place)
            (read,) = self._loader.aside([request])
            return self._chosen.loaded(read, numbers)
        if place != self._next or self._loader.stream != self._followed:
            self._asked.clear()
            self._followed = self._loader.follow(self._stream(place))
        self._next = place + 1
        read = self._loader.next()
        return self._chosen.loaded(read, self._asked.popleft())

    def _stream(self, place: int) -> Iterator[Request]:
        order = EndlessOrder(len(self._chosen), self._seed)
        while True:
            numbers, request = self._request(order, place)
            self._asked.append(numbers)
            yield request
            place += 1

    def _request(self, order: EndlessOrder, place: int) -> tuple[Indices, Request]:
        start, stop = self._plan.positions(*self._split(place))
        numbers = order.between(start, stop)
        epochs = np.arange(start, stop) // len(self._chosen)
        places = [(self._seed, e, i) for e, i in zip(epochs.tolist(), numbers.tolist(), strict=True)]
        return numbers, Request(self._chosen.paths(numbers), places)

    def _split(self, place: int) -> tuple[int, int, int]:
        step, micro_batch = divmod(place, self._plan.num_micro_batches)
        return step, self._rank, micro_batch
