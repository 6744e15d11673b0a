"""Images that are decoded when they are needed, whatever their source: by the loader's processes, step after step."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trainer.contract.data import PreparedImages
from trainer.contract.spec import TrainingSpec
from trainer.datasets import transforms
from trainer.datasets.catalogue import Catalogue, Found, Indices
from trainer.datasets.image_set import Batch, VisionData, share
from trainer.datasets.loader import Loader
from trainer.datasets.order import BatchPlan, EndlessOrder, split
from trainer.datasets.reading import Read, Reader, Request
from trainer.datasets.references import Reference
from trainer.datasets.roots import unreadable
from trainer.datasets.transforms import Normalise

KEPT_MICRO_BATCHES = 8
MAX_KEPT_BYTES = 2 * 1024**3
"""What a rank keeps of a step for the second pass of a refresh: its first micro-batches and the latest, with a byte per
value (1,024 images of 224 x 224: 154 MB). The rest is read twice: memory must not grow with the batch."""

Loaded = tuple[Tensor, Tensor]
"""uint8 pixels and labels, on the CPU."""


def serve(spec: TrainingSpec, data: PreparedImages, device: torch.device, find: Callable[[], Found]) -> VisionData:
    """The sets of a run from what `find` finds, while the reading processes' server already starts.

    Raises TrainerError: what `find` raises, or `spec_rejected_by_trainer` where the split cannot be made.
    """
    reader = Reader(transforms.build(spec.model, data))
    loader = Loader(reader, data.loader_workers, pin_memory=device.type == "cuda")
    normalise = Normalise(spec, data, device)
    found = find()

    def images(chosen: Chosen) -> ReadImages:
        return ReadImages(chosen, loader, normalise)

    if found.validation is None:
        assert data.held_out is not None
        labels = found.train.labels
        parts = split(labels, validation_fraction=data.held_out, split_seed=data.split_seed, keep_one=True)
        train, validation = (Chosen(found.train, part) for part in parts)
    else:
        train, validation = Chosen.all_of(found.train), Chosen.all_of(found.validation)
    return VisionData(
        train=images(train), validation=images(validation), num_classes=found.num_classes, channels=3,
        side=reader.side, fingerprint=found.fingerprint(), close=loader.close, class_names=list(found.class_names),
        test=images(Chosen.all_of(found.test)) if found.test is not None else None,
    )  # fmt: skip


@dataclass(frozen=True)
class Chosen:
    """Some of a catalogue's images, numbered anew."""

    catalogue: Catalogue
    indices: Indices
    """In the catalogue, one entry an image."""

    @classmethod
    def all_of(cls, catalogue: Catalogue) -> Chosen:
        return cls(catalogue, np.arange(len(catalogue.labels)))

    def __len__(self) -> int:
        return len(self.indices)

    def references(self, numbers: Indices) -> list[Reference]:
        return [*self.catalogue.references(self.indices[numbers])]

    def loaded(self, read: Read, numbers: Indices) -> Loaded:
        """Raises TrainerError(data_unreadable) naming the image."""
        indices = self.indices[numbers]
        if isinstance(read, Tensor):
            return read, torch.from_numpy(self.catalogue.labels[indices])
        raise unreadable(self.catalogue.complaint(int(indices[read.position]), read.why))


class ReadImages:
    """At most one iteration of `share_of` at a time."""

    def __init__(self, chosen: Chosen, loader: Loader, normalise: Normalise) -> None:
        self._chosen, self._loader, self._normalise = chosen, loader, normalise

    def __len__(self) -> int:
        return len(self._chosen)

    def share_of(self, rank: int, num_ranks: int, batch_size: int) -> Iterator[Batch]:
        mine = share(len(self), rank, num_ranks)
        pieces = [mine[start : start + batch_size] for start in range(0, len(mine), batch_size)]
        requests = (Request(self._chosen.references(numbers), None) for numbers in pieces)
        for numbers, read in zip(pieces, self._loader.aside(requests), strict=True):
            yield self._normalise(*self._chosen.loaded(read, numbers))

    def batches(self, seed: int, plan: BatchPlan, rank: int) -> _Batches:
        return _Batches(self._chosen, self._loader, self._normalise, seed, plan, rank)


class _Batches:
    """The rank's micro-batches are one sequence over all steps, which the loader follows from wherever it is begun."""

    def __init__(
        self, chosen: Chosen, loader: Loader, normalise: Normalise, seed: int, plan: BatchPlan, rank: int
    ) -> None:
        self._chosen, self._loader, self._normalise, self._seed, self._plan, self._rank = (
            chosen, loader, normalise, seed, plan, rank,
        )  # fmt: skip
        self._order = EndlessOrder(len(chosen), seed)
        self._step = -1
        self._kept: dict[int, Loaded] = {}
        self._latest = -1  # of the kept
        self._next = -1  # what the stream gives next, counted in micro-batches
        self._followed = -1  # the loader's number of our stream
        self._asked: deque[Indices] = deque()  # of the requests that the loader took from the stream
        self._again: Generator[Loaded] | None = None
        self._again_order: deque[int] = deque()  # micro-batches that come out of it

    def at(self, step: int, micro_batch: int) -> Batch:
        if step != self._step:
            self._step = step
            self._kept.clear()
            self._forget_again()
        if micro_batch not in self._kept:
            first = step * self._plan.num_micro_batches
            place = first + micro_batch
            if place < self._next <= first + self._plan.num_micro_batches:
                return self._normalise(*self._read_again(micro_batch))
            self._keep(micro_batch, self._read(place))
        return self._normalise(*self._kept[micro_batch])

    def _keep(self, micro_batch: int, loaded: Loaded) -> None:
        kept_bytes = sum(pixels.nbytes for pixels, _ in self._kept.values()) + loaded[0].nbytes
        if len(self._kept) >= KEPT_MICRO_BATCHES or kept_bytes > MAX_KEPT_BYTES:
            self._kept.pop(self._latest, None)
        self._kept[micro_batch] = loaded
        self._latest = micro_batch

    def _read(self, place: int) -> Loaded:
        if place != self._next or self._loader.stream != self._followed:
            self._asked.clear()
            self._followed = self._loader.follow(self._stream(place))
        self._next = place + 1
        read = self._loader.next()
        return self._chosen.loaded(read, self._asked.popleft())

    def _read_again(self, micro_batch: int) -> Loaded:
        """What was read in this step and not kept; those that a second pass asks for next are read meanwhile."""
        if self._again is None or not self._again_order or self._again_order[0] != micro_batch:
            self._forget_again()
            missing = [m for m in range(micro_batch, self._plan.num_micro_batches) if m not in self._kept]
            self._again, self._again_order = self._reading_again(missing), deque(missing)
        self._again_order.popleft()
        return next(self._again)

    def _reading_again(self, micro_batches: Sequence[int]) -> Generator[Loaded]:
        asked: deque[Indices] = deque()

        def requests() -> Iterator[Request]:
            for micro_batch in micro_batches:
                numbers, request = self._request(self._order, self._step * self._plan.num_micro_batches + micro_batch)
                asked.append(numbers)
                yield request

        with closing(self._loader.aside(requests())) as answers:
            for read in answers:
                yield self._chosen.loaded(read, asked.popleft())

    def _forget_again(self) -> None:
        if self._again is not None:
            self._again.close()
        self._again = None

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
        return numbers, Request(self._chosen.references(numbers), places)

    def _split(self, place: int) -> tuple[int, int, int]:
        step, micro_batch = divmod(place, self._plan.num_micro_batches)
        return step, self._rank, micro_batch
