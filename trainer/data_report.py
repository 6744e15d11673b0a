"""What `trainer.data_check` found, as one JSON object. Loads no torch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import yaml

from trainer.datasets.census import Census, copies
from trainer.datasets.roots import DataRoots, shown

MAX_LISTED = 50
"""Files and folders named of each kind; the counts are of all."""
COMMON_SIZES = 5


class Remark(NamedTuple):
    kind: str
    path: str
    sentence: str


@dataclass(kw_only=True)
class FolderReport:
    """One folder of a check: "train" or "validation"."""

    name: str
    census: Census
    remarks: list[Remark]
    """What is wrong with its folders and links."""

    def document(self) -> dict[str, Any]:
        census, files = self.census, self.census.files
        broken = sorted(census.broken.items())
        return {
            "name": self.name, "path": shown(files.written), "classes": len(files.classes), "images": len(files),
            "looked_at": int(census.seen.sum()), "bytes": census.num_bytes, "ignored": files.ignored,
            "images_per_class": _spread(files.classes, files.counts), "sizes": _sizes(census.known_sizes()),
            "modes": dict(census.modes.most_common()),
            "broken": {
                "count": len(broken),
                "first": [{"path": files.shown(number), "why": why} for number, why in broken[:MAX_LISTED]],
            },
            "problems": {
                "count": len(self.remarks), "first": [remark._asdict() for remark in self.remarks[:MAX_LISTED]]
            },
        }  # fmt: skip


def report(folders: Sequence[FolderReport], roots: DataRoots, *, complete: bool, crashed: str) -> dict[str, Any]:
    """`would_fail`: whether a run on these folders would end `data_unreadable`."""
    if len(folders) == 2:
        _compare_classes(*folders)
    documents = [folder.document() for folder in folders]
    return {
        "complete": complete, "crashed": crashed, "folders": documents,
        "would_fail": any(each["broken"]["count"] or each["problems"]["count"] for each in documents),
        "copies": _copies(folders), "hints": _hints(folders, roots), "spec": _spec(folders, roots),
    }  # fmt: skip


def _compare_classes(train: FolderReport, validation: FolderReport) -> None:
    known = set(train.census.files.classes)
    for name in validation.census.files.classes:
        if name not in known:
            path = shown(os.path.join(validation.census.files.written, name))
            sentence = f"{path} is a class that training has no folder of: add its training images, or remove it."
            validation.remarks.append(Remark("unknown_class", path, sentence))


def _spread(classes: list[str], counts: np.ndarray[Any, Any]) -> dict[str, Any] | None:
    if not len(counts):
        return None
    least, most = int(counts.argmin()), int(counts.argmax())
    return {
        "least": int(counts[least]), "least_class": shown(classes[least]), "median": float(np.median(counts)),
        "most": int(counts[most]), "most_class": shown(classes[most]),
        "imbalance": round(float(counts[most] / counts[least]), 2),
    }  # fmt: skip


def _sizes(sizes: np.ndarray[Any, Any]) -> dict[str, Any] | None:
    if not len(sizes):
        return None
    kinds, counts = np.unique(sizes, axis=0, return_counts=True)
    areas = kinds.astype(np.int64).prod(axis=1)
    common = np.argsort(-counts, kind="stable")[:COMMON_SIZES]
    return {
        "kinds": len(kinds), "common": [[*kinds[i].tolist(), int(counts[i])] for i in common],
        "smallest": kinds[areas.argmin()].tolist(), "largest": kinds[areas.argmax()].tolist(),
    }  # fmt: skip


def _copies(folders: Sequence[FolderReport]) -> dict[str, Any]:
    """Groups of equal files: in two classes (one label is wrong), in both folders (validation judges less), or else."""
    kinds: dict[str, list[list[str]]] = {"in_two_classes": [], "in_both_folders": [], "in_one_class": []}
    for group in copies([folder.census for folder in folders]):
        paths = [folders[where].census.files.shown(number) for where, number in group]
        classes = {folders[where].census.files.below(number).split(os.sep, 1)[0] for where, number in group}
        if len(classes) > 1:
            kinds["in_two_classes"].append(paths)
        if len({where for where, _ in group}) > 1:
            kinds["in_both_folders"].append(paths)
        elif len(classes) == 1:
            kinds["in_one_class"].append(paths)
    return {kind: {"count": len(found), "first": found[:MAX_LISTED]} for kind, found in kinds.items()}


def _hints(folders: Sequence[FolderReport], roots: DataRoots) -> list[str]:
    """What a person should know and no run fails for."""
    hints = []
    if len(folders) == 2:
        missing = set(folders[0].census.files.classes) - set(folders[1].census.files.classes)
        if missing:
            some = ", ".join(shown(name) for name in sorted(missing)[:5])
            hints.append(f"{len(missing)} classes have no validation image: {some}{', ...' * (len(missing) > 5)}")
    for folder in folders:
        files = folder.census.files
        if roots.folders is not None and not roots.holds(files.folder):
            hints.append(f"{shown(files.written)} is outside {roots.named}: move it there before you submit a run")
    modes = {mode for folder in folders for mode in folder.census.modes}
    if "I;16" in modes:
        hints.append("images of 16 bits a pixel are scaled to 8")
    if modes & {"RGBA", "LA", "PA"}:
        hints.append("transparency is dropped")
    return hints


def _spec(folders: Sequence[FolderReport], roots: DataRoots) -> str:
    """The `data` section of a spec that uses the folders."""
    section = {"source": "image_folder"}
    for folder in folders:
        section[folder.name] = _as_a_spec_names_it(folder.census.files.folder, roots)
    text = yaml.safe_dump({"data": section}, sort_keys=False, allow_unicode=True, width=4096)
    sizes = np.unique(np.concatenate([folder.census.known_sizes() for folder in folders]), axis=0)
    if len(sizes) == 1 and sizes[0][0] == sizes[0][1]:
        text += f"# All images have {sizes[0][0]} x {sizes[0][0]} pixels: model.image_size {sizes[0][0]} keeps that.\n"
    return text


def _as_a_spec_names_it(folder: str, roots: DataRoots) -> str:
    for root in roots.folders or ():
        below = os.path.relpath(folder, root)
        if not below.startswith(os.pardir):
            return below
    return folder
