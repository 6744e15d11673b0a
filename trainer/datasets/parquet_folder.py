"""Which Parquet files of a folder make a split, by the hub's layouts. Loads neither torch nor `datasets`."""

from __future__ import annotations

import os
import re

from trainer.contract.data import HuggingFaceData
from trainer.datasets.catalogue import named
from trainer.datasets.roots import DataRoots, shown, unreadable

SUFFIX = ".parquet"
HOLDING = "Parquet files, such as train.parquet"
MAX_NAMED = 5
MAGIC = b"PAR1"
"""Begins and ends every Parquet file."""


def files_of_splits(data: HuggingFaceData, roots: DataRoots) -> dict[str, list[str]]:
    """Absolute paths of each split that `data` names, in the order of their names below `data.path`.

    A file belongs to a split by its name (train.parquet, train-00000-of-00002.parquet), or else by a folder's it lies
    in. Raises TrainerError(data_unreadable) where there is none, or where one leads out of the roots.
    """
    assert data.path is not None
    folder = roots.find("data.path", data.path, holding=HOLDING)
    below = _parquet_files(folder)
    fields = {"train": data.train, "validation": data.validation, "test": data.test}
    return {split: _files_of(split, field, data.path, folder, below, roots) for field, split in fields.items() if split}


def _parquet_files(folder: str) -> list[str]:
    """Paths below `folder`, sorted; what is hidden is passed over."""
    found = []
    for where, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [
            os.path.relpath(os.path.join(where, name), folder)
            for name in files
            if name.endswith(SUFFIX) and not name.startswith(".")
        ]
    return sorted(found)


def _files_of(split: str, field: str, written: str, folder: str, below: list[str], roots: DataRoots) -> list[str]:
    word = re.compile(rf"{re.escape(split)}($|[-._ 0-9])")
    mine = [name for name in below if word.match(os.path.basename(name).removesuffix(SUFFIX))]
    mine = mine or [name for name in below if any(word.match(part) for part in os.path.dirname(name).split(os.sep))]
    if not mine:
        there = ", ".join(map(shown, below[:MAX_NAMED])) + (", ..." if len(below) > MAX_NAMED else "")
        raise unreadable(
            f"data.path {named(written, folder)} holds no file of data.{field} {split}: a split is {split}{SUFFIX}, "
            f"{split}-00000-of-00002{SUFFIX} and so on, or {split}/*{SUFFIX}. It holds {there or 'no Parquet file'}."
        )
    paths = [os.path.join(folder, name) for name in mine]
    for path in paths:
        if not roots.holds(path):
            raise unreadable(f"{shown(path)} is a link out of {roots.named}: copy what it names.")
        _must_be_parquet(path)
    return paths


def _must_be_parquet(path: str) -> None:
    try:
        with open(path, "rb") as file:
            first = file.read(len(MAGIC))
            file.seek(max(0, os.path.getsize(path) - len(MAGIC)))
            last = file.read()
    except OSError as error:
        raise unreadable(f"{shown(path)} cannot be read ({error.strerror}): mend the file or its rights.") from error
    if (first, last) != (MAGIC, MAGIC):
        raise unreadable(f"{shown(path)} is no whole Parquet file: write it anew.")
