"""What tests ask of loaded data: batches of all ranks, and which files they are."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import torch

from trainer.datasets.order import plan_batches


def batches(loaded, spec, rank=0, ranks=1):
    return loaded.train.batches(spec.seed, plan_batches(spec, ranks), rank)


def pixels_of(loaded, spec, steps, ranks=1):
    """Of the global batches, put together from all ranks' micro-batches."""
    plan = plan_batches(spec, ranks)
    mine = [batches(loaded, spec, rank, ranks) for rank in range(ranks)]
    return [
        torch.cat([b.at(step, m)[0] for b in mine for m in range(plan.num_micro_batches)]) for step in steps
    ]  # fmt: skip


def pixels_from(mine, steps):
    return [mine.at(step, 0)[0] for step in steps]


def same(a, b):
    return len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def paths_of(images):
    """Of a set whose images are files."""
    return [reference.path for reference in images._chosen.references(np.arange(len(images)))]


def whole(images):
    """All of a set, without augmentation: pixels and labels."""
    pixels, labels = zip(*images.share_of(0, 1, 64), strict=True)
    return torch.cat(pixels), torch.cat(labels)


def encoded(image, kind="PNG"):
    """The bytes of an image's file."""
    file = BytesIO()
    image.save(file, kind)
    return file.getvalue()


def as_floats(image):
    """What the model sees of an image where nothing changes it but a division by 255: (3, height, width)."""
    return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1) / 255
