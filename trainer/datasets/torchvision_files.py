"""Which files torchvision looks for when it opens a data set, so that a folder without them is told before any wait.

Names alone: whether the files are whole (torchvision compares MD5 sums) is seen when a rank opens them. Loads no torch;
a test compares with torchvision itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from trainer.contract.data import TorchvisionData, TorchvisionName
from trainer.datasets.catalogue import named
from trainer.datasets.roots import unreadable

_IDX = [f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]
_STL10 = ["train_X", "train_y", "unlabeled_X", "test_X", "test_y"]

WHATEVER_THE_SPLIT: dict[TorchvisionName, list[str]] = {
    "cifar10": [
        *(f"cifar-10-batches-py/data_batch_{number}" for number in range(1, 6)), "cifar-10-batches-py/test_batch",
        "cifar-10-batches-py/batches.meta",
    ],
    "cifar100": [f"cifar-100-python/{name}" for name in ("train", "test", "meta")],
    "dtd": ["dtd/dtd/images"],
    "fashion_mnist": [f"FashionMNIST/raw/{name}" for name in _IDX],
    "fgvc_aircraft": ["fgvc-aircraft-2013b/data/variants.txt", "fgvc-aircraft-2013b/data/images"],
    "flowers102": ["flowers-102/jpg", "flowers-102/imagelabels.mat", "flowers-102/setid.mat"],
    "food101": ["food-101/meta", "food-101/images"],
    "kmnist": [f"KMNIST/raw/{name}" for name in _IDX],
    "mnist": [f"MNIST/raw/{name}" for name in _IDX],
    "oxford_iiit_pet": ["oxford-iiit-pet/images", "oxford-iiit-pet/annotations"],
    "stl10": [f"stl10_binary/{name}.bin" for name in _STL10],
}  # fmt: skip
OF_TRAIN: dict[TorchvisionName, list[str]] = {
    "country211": ["country211/train"],
    "dtd": ["dtd/dtd/labels/train1.txt"],
    "fgvc_aircraft": ["fgvc-aircraft-2013b/data/images_variant_train.txt"],
    "food101": ["food-101/meta/train.json"],
    "gtsrb": ["gtsrb/GTSRB/Training"],
    "oxford_iiit_pet": ["oxford-iiit-pet/annotations/trainval.txt"],
    "svhn": ["train_32x32.mat"],
    "usps": ["usps.bz2"],
}
OF_TEST: dict[TorchvisionName, list[str]] = {
    "country211": ["country211/test"],
    "dtd": ["dtd/dtd/labels/test1.txt"],
    "fgvc_aircraft": ["fgvc-aircraft-2013b/data/images_variant_test.txt"],
    "food101": ["food-101/meta/test.json"],
    "gtsrb": ["gtsrb/GTSRB/Final_Test/Images", "gtsrb/GT-final_test.csv"],
    "oxford_iiit_pet": ["oxford-iiit-pet/annotations/test.txt"],
    "svhn": ["test_32x32.mat"],
    "usps": ["usps.t.bz2"],
}
OLD_LAYOUT = {
    name: [f"{folder}/processed/{part}.pt" for part in ("training", "test")]
    for name, folder in (("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST"), ("kmnist", "KMNIST"))
}
"""Of earlier versions of torchvision, which it still takes instead."""


def must_be_there(data: TorchvisionData, folder: str) -> None:
    """`folder`: what `data.path` names. Raises TrainerError(data_unreadable) naming the first file that is missing."""

    def there(below: str) -> bool:
        return os.path.exists(os.path.join(folder, below))

    missing = next((below for below in _looked_for(data) if not there(below)), None)
    if missing is None or (data.name in OLD_LAYOUT and all(map(there, OLD_LAYOUT[data.name]))):
        return
    raise unreadable(
        f"data.path {named(data.path, folder)} holds no {data.name} as torchvision keeps it: {missing} is not there. "
        "Put the data set there on every machine, or set `data.download` to let the run fetch it."
    )


def _looked_for(data: TorchvisionData) -> Iterator[str]:
    yield from WHATEVER_THE_SPLIT.get(data.name, [])
    yield from OF_TRAIN.get(data.name, [])
    if data.test:
        yield from OF_TEST.get(data.name, [])
