"""Hugging Face `datasets`: opened at the start, once; then any row is read from its Arrow files by the processes.

`datasets` turns Parquet into Arrow files in its cache (HF_HOME), once per node and version of the files; they are
mapped into memory, not read into it. It has run no code of a data set's own since its version 4, and none is asked for.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from trainer.contract.data import HuggingFaceData
from trainer.datasets.catalogue import Answers, Found, Indices, digest
from trainer.datasets.parquet_folder import files_of_splits
from trainer.datasets.patience import waiting_for
from trainer.datasets.references import ArrowRow
from trainer.datasets.roots import DataRoots, shown, unreadable
from trainer.errors import first_line, is_disk_full

if TYPE_CHECKING:
    from datasets import Dataset


def find(data: HuggingFaceData, roots: DataRoots, getting_on: Callable[[], None]) -> Found:
    """Raises TrainerError(data_unreadable)."""
    splits = [split for split in (data.train, data.validation, data.test) if split is not None]
    files = files_of_splits(data, roots) if data.path is not None else None
    opened = waiting_for(lambda: _opened(data, splits, files), getting_on)
    training = opened[data.train]
    answers = Answers(_labels(training, data, data.train), _shown(data, data.train), _class_names(training, data))

    def rows(split: str | None) -> Rows | None:
        return Rows(opened[split], answers, data, split) if split is not None else None

    return Found(
        train=Rows(training, answers, data, data.train), validation=rows(data.validation), test=rows(data.test),
        num_classes=answers.num_classes, class_names=answers.names,
    )  # fmt: skip


def _opened(data: HuggingFaceData, splits: Sequence[str], files: dict[str, list[str]] | None) -> dict[str, Dataset]:
    import datasets  # 2 s, which runs on other data do not pay

    datasets.disable_progress_bars()
    try:
        if files is not None:
            found = datasets.load_dataset("parquet", data_files=files, keep_in_memory=False)
        else:
            with _traffic(data.download):
                # The prefix says that this is a hub name, whatever folder of that name lies here.
                where = f"hf://datasets/{data.name}"
                found = datasets.load_dataset(where, data.configuration, revision=data.revision, keep_in_memory=False)
    except MemoryError:
        raise
    except Exception as error:  # of reading, fetching and converting: `datasets` lets all kinds through
        if isinstance(error, OSError) and is_disk_full(error):
            raise
        raise unreadable(_not_opened(data, error)) from error
    for split in splits:
        if split not in found:
            there = ", ".join(found)
            raise unreadable(f"{_shown(data, split)}: there is no such split, only {there}. Name one of these.")
        if not len(found[split]):
            raise unreadable(f"{_shown(data, split)} is empty.")
        if not data.download and data.revision is not None:
            _check_revision(found[split], data, split)
    return {split: found[split] for split in splits}


def _check_revision(dataset: Dataset, data: HuggingFaceData, split: str) -> None:
    """`datasets` takes from its cache what is the newest there; the folders are named by commits."""
    folder = os.path.dirname(str(dataset.cache_files[0]["filename"]))
    if os.path.basename(folder) != data.revision:
        raise unreadable(
            f"{_shown(data, split)}: this machine's Hugging Face cache holds commit {os.path.basename(folder)}, not "
            f"`data.revision` {data.revision}. Name that commit, or set `data.download`."
        )


@contextmanager
def _traffic(allowed: bool) -> Iterator[None]:
    """Without it `datasets` looks into its cache alone: what the variable HF_HUB_OFFLINE does, for this call."""
    import datasets

    before = datasets.config.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = before or not allowed
    try:
        yield
    finally:
        datasets.config.HF_HUB_OFFLINE = before


def _not_opened(data: HuggingFaceData, error: Exception) -> str:
    why = f"{first_line(error)}"
    if data.path is not None:
        cause = f" ({first_line(error.__cause__)})" if error.__cause__ else ""
        return f"data.path {shown(data.path)} could not be opened as Parquet: {why}{cause}. Write the files anew."
    if data.download:
        return f"data.name {data.name} could not be fetched: {why}. Look at the name, the network and HF_TOKEN."
    call = f'datasets.load_dataset("{data.name}"' + (f', "{data.configuration}")' if data.configuration else ")")
    return (
        f"data.name {data.name} is not in this machine's Hugging Face cache ({why}). Put it there on every machine, by "
        f"`python -c 'import datasets; {call}'`, or set `data.download` to let the run fetch it."
    )


def _shown(data: HuggingFaceData, split: str) -> str:
    return f"Split {split} of {shown(data.path) if data.path is not None else data.name}"


def _labels(dataset: Dataset, data: HuggingFaceData, split: str) -> npt.NDArray[Any]:
    """As they are stored, (N,)."""
    for field, column in (("image_column", data.image_column), ("label_column", data.label_column)):
        if column not in dataset.column_names:
            there = ", ".join(dataset.column_names)
            raise unreadable(f"{_shown(data, split)} has no column {column}, only {there}: set `data.{field}`.")
    column = dataset.with_format("arrow").select_columns([data.label_column])[:].column(0)
    if column.null_count:
        raise unreadable(f"{_shown(data, split)} has {column.null_count} rows without a label: leave them out.")
    import pyarrow.types

    if pyarrow.types.is_integer(column.type):
        return np.asarray(column)
    if not (pyarrow.types.is_string(column.type) or pyarrow.types.is_large_string(column.type)):
        raise unreadable(
            f"{_shown(data, split)}: column {data.label_column} holds {column.type}, must be whole numbers or class "
            "names: set `data.label_column`."
        )
    return np.array(column.to_pylist(), dtype=np.str_)


def _class_names(dataset: Dataset, data: HuggingFaceData) -> list[str] | None:
    names = getattr(dataset.features[data.label_column], "names", None)
    return list(names) if names else None


class Rows:
    """The rows of a split, in their order."""

    def __init__(self, dataset: Dataset, answers: Answers, data: HuggingFaceData, split: str) -> None:
        self._where, self._column = _shown(data, split), data.image_column
        stored = _labels(dataset, data, split)
        self.labels = answers.of(stored, lambda index: f"row {index}")
        self._files = [str(each["filename"]) for each in dataset.cache_files]
        self._ends = np.cumsum([_rows_in(file) for file in self._files])
        if self._ends[-1] != len(stored):
            raise unreadable(
                f"{self._where}: its cache is not whole. Remove the cache, {os.path.dirname(self._files[0])}."
            )
        self._fingerprint = digest([self.labels.tobytes(), split])

    def references(self, indices: Indices) -> list[ArrowRow]:
        files = np.searchsorted(self._ends, indices, side="right")
        starts = np.concatenate([[0], self._ends])[files]
        return [
            ArrowRow(self._files[file], self._column, row)
            for file, row in zip(files.tolist(), (indices - starts).tolist(), strict=True)
        ]

    def complaint(self, index: int, why: str) -> str:
        return f"{self._where}: row {index} {why}. Replace or remove the row."

    def fingerprint(self) -> int:
        return self._fingerprint


def _rows_in(file: str) -> int:
    import pyarrow

    return int(pyarrow.ipc.open_stream(pyarrow.memory_map(file)).read_all().num_rows)
