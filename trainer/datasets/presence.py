"""Whether a run's data are there, as far as that is told in a moment: asked by the driver, before any slot is taken.

Of torchvision's sets the files that it looks for, of image folders a first image in each class, of tar files a first
member; no image is decoded.

The ranks look again and thoroughly, still before the model is built: they may run on machines that see other files.
Loads no torch.
"""

from __future__ import annotations

import os

from trainer.contract.data import Data, DigitsData, HuggingFaceData, ImageFolderData, WebDatasetData
from trainer.datasets.folder_files import must_hold_images
from trainer.datasets.parquet_folder import files_of_splits
from trainer.datasets.roots import DataRoots
from trainer.datasets.shard_names import must_begin_as_tars, shards
from trainer.datasets.torchvision_files import must_be_there


def check(data: Data, roots: DataRoots) -> None:
    """Raises TrainerError(data_unreadable) where folders and files that `data` names are missing, or lie outside.

    Where a data root is not seen from here nothing is said: the machines of the ranks may see it.
    """
    if isinstance(data, DigitsData) or not all(os.path.isdir(root) for root in roots.folders or ()):
        return
    if isinstance(data, HuggingFaceData):
        if data.path is not None:
            files_of_splits(data, roots)
    elif isinstance(data, WebDatasetData):
        patterns = {"train": data.train, "validation": data.validation, "test": data.test}
        for field, pattern in patterns.items():
            if pattern is not None:
                must_begin_as_tars(f"data.{field}", pattern, shards(f"data.{field}", pattern, roots))
    elif isinstance(data, ImageFolderData):
        for field, written in data.folders:
            must_hold_images(roots.find(f"data.{field}", written), written, roots)
    else:
        folder = roots.find("data.path", data.path, holding="the data set as torchvision keeps it")
        if not data.download:
            must_be_there(data, folder)
