"""Checkpoints: everything a resumed run needs, in a folder that is either complete or not there.

    <folder>/checkpoints/step-00000100/state.pt        `Saved`, read with weights_only=True
                                       manifest.json   size and SHA-256 of every other file; written last
                                       ...             what the listener adds (reports not yet acknowledged)

A checkpoint is written to a temporary folder beside its place, flushed to the disk, then renamed. A reader trusts only
what the manifest confirms, so one torn by a crash or a failing disk is recognised, and the one before it is used.

Randomness is keyed (`trainer.randomness`) and the learning rate is a function of the step, so neither is saved.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import IO, Any, BinaryIO, cast
from uuid import uuid4

import torch
from torch import Tensor

from trainer.contract.ends import EndReason
from trainer.errors import TrainerError, first_line

FORMAT = 1
STATE_FILE = "state.pt"
MANIFEST_FILE = "manifest.json"


@dataclass(frozen=True, kw_only=True)
class Saved:
    """What a run needs to go on as if nothing had happened."""

    step: int
    """Steps completed."""
    spec: dict[str, Any]
    """The training spec as JSON, to refuse going on with another one."""
    model: dict[str, Tensor]
    """Weights and buffers (rank 0's)."""
    average: dict[str, Tensor] | None = None
    """The moving average of the weights, with its buffers; None without `ema_decay`."""
    optimizer: dict[str, Any]
    direction: list[Tensor] | None
    """u of the last refresh, in the order of the weights; None forces a refresh."""
    method: dict[str, Tensor]
    """The method's scalars."""
    loss_scale: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Of fp16; empty in checkpoints older than this field."""
    gradient_evaluations: int
    refreshes: int | None = None
    """Steps that took a second gradient; None in checkpoints older than this field."""
    told: list[str]
    """Codes of the notices given so far, which are given once a run."""
    seconds: float
    """Of training so far, over all attempts."""
    cpu_seconds: float = 0.0
    """Of training steps so far, over all attempts and ranks; 0 in checkpoints older than this field."""
    numbers: dict[str, float]
    """The last known value of every metric."""
    best: dict[str, Any] = dataclasses.field(default_factory=dict)
    """The best validation so far (`Best` as a document); empty before the first, and in checkpoints older than this
    field."""
    preparation: dict[str, Any] = dataclasses.field(default_factory=dict)
    """`Preparation` of the images as a document; empty in checkpoints older than this field."""
    threads: int
    """CPU threads of a worker; they decide the last bits of sums."""
    world_size: int


@dataclass(frozen=True, kw_only=True)
class Best:
    """The best validation of a run so far: of the moving average of its weights, where it keeps one."""

    step: int
    """Steps completed."""
    validation_top1: float
    validation_loss: float

    @classmethod
    def of(cls, step: int, numbers: dict[str, float], before: Best | None) -> Best:
        """`before`, or this step's validation where it has the higher top-1, or the same and the lower loss.

        So a loss that is not a number beats nothing but the first. What is ranked is what an export holds.
        """
        name = "ema_validation" if "ema_validation_top1" in numbers else "validation"
        new = cls(step=step, validation_top1=numbers[f"{name}_top1"], validation_loss=numbers[f"{name}_loss"])
        if before is None:
            return new
        if new.validation_top1 == before.validation_top1:
            return new if new.validation_loss < before.validation_loss else before
        return new if new.validation_top1 > before.validation_top1 else before


class Torn(Exception):
    """A folder that is no complete checkpoint; the message says what is wrong with it."""


def folder_of(folder: Path, step: int) -> Path:
    return folder / "checkpoints" / f"step-{step:08d}"


def step_of(path: Path) -> int | None:
    prefix, _, digits = path.name.partition("-")
    return int(digits) if prefix == "step" and digits.isdecimal() else None


def found_in(folder: Path) -> list[Path]:
    """Checkpoints under `folder`, newest first, complete or not."""
    places = (folder / "checkpoints").glob("step-*")
    return sorted((path for path in places if step_of(path) is not None), key=lambda p: step_of(p) or 0, reverse=True)


def save(saved: Saved, folder: Path, *, before_rename: Callable[[int, Path], None]) -> tuple[Path, int]:
    """Writes one and returns its path and size in bytes. Raises OSError (a full disk among others)."""
    path = folder_of(folder, saved.step)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".writing-{path.name}-{uuid4().hex[:8]}"
    temporary.mkdir()
    try:
        _write_state(saved, temporary / STATE_FILE)
        before_rename(saved.step, temporary)
        files = {file.name: _described(file) for file in sorted(temporary.iterdir())}
        manifest = json.dumps({"format": FORMAT, "step": saved.step, "files": files}, indent=1).encode()
        (temporary / MANIFEST_FILE).write_bytes(manifest)
        for file in temporary.iterdir():
            _flush(file)
        _flush(temporary)
        _put_in_place(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return path, sum(file.stat().st_size for file in path.iterdir())


def keep_newest(folder: Path, *, current_step: int, keep: int, best_step: int | None = None) -> None:
    """Removes all but the newest `keep` up to `current_step` and that of `best_step`, and those beyond `current_step`,
    the best or not: a run that went back left them."""
    paths = found_in(folder)
    beyond = [path for path in paths if (step_of(path) or 0) > current_step]
    old = [path for path in [path for path in paths if path not in beyond][keep:] if step_of(path) != best_step]
    for path in beyond + old:
        doomed = path.with_name(f".removing-{path.name}-{uuid4().hex[:8]}")
        os.replace(path, doomed)  # first out of sight at once, so that no half-removed checkpoint is ever seen
        shutil.rmtree(doomed, ignore_errors=True)


def sweep(folder: Path) -> None:
    """Removes what killed processes left half written or half removed."""
    for path in (folder / "checkpoints").glob(".*-step-*"):
        shutil.rmtree(path, ignore_errors=True)


def verify(path: Path) -> None:
    """Raises Torn unless every file is there as it was written."""
    try:
        manifest = json.loads((path / MANIFEST_FILE).read_bytes())
        if manifest["format"] != FORMAT:
            raise Torn(f"{path} has format {manifest['format']}, this version reads {FORMAT}")
        for name, expected in manifest["files"].items():
            if _described(path / name) != expected:
                raise Torn(f"{path / name} is not as it was written")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Torn(f"{path} is incomplete ({first_line(error)})") from error


def read(path: Path) -> Saved:
    """Reads a verified checkpoint; its tensors are on the CPU. Runs no code from it."""
    try:
        document = torch.load(path / STATE_FILE, map_location="cpu", weights_only=True)
        return Saved(**document)
    except Exception as error:  # torch.load raises what the broken byte happens to hit
        raise TrainerError(
            EndReason.checkpoint_unreadable, f"{path} could not be read ({type(error).__name__}: {first_line(error)})."
        ) from error


def newest_complete(candidates: Sequence[Path]) -> tuple[int, list[str]]:
    """Index of the first complete one and what is wrong with those before it; raises TrainerError if all are torn."""
    problems: list[str] = []
    for index, path in enumerate(candidates):
        try:
            verify(path)
        except Torn as torn:
            problems.append(str(torn))
        else:
            return index, problems
    raise TrainerError(EndReason.checkpoint_unreadable, f"No checkpoint is complete: {'; '.join(problems)}.")


def _write_state(saved: Saved, path: Path) -> None:
    document = {field.name: getattr(saved, field.name) for field in fields(saved)}
    with path.open("wb") as file:
        tracked = _Tracked(file)
        try:
            torch.save(document, cast(IO[bytes], tracked))  # torch only writes and flushes
        except RuntimeError as error:
            # torch's writer hides the system's error behind one of its own; a full disk must stay recognisable.
            raise tracked.failure or error from error


class _Tracked:
    """A file that remembers the system's error."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.failure: OSError | None = None

    def write(self, data: bytes) -> int:
        try:
            return self._file.write(data)
        except OSError as error:
            self.failure = error
            raise

    def flush(self) -> None:
        self._file.flush()


def _described(path: Path) -> dict[str, int | str]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"size_bytes": path.stat().st_size, "sha256": digest}


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _put_in_place(temporary: Path, path: Path) -> None:
    if path.exists():  # written before the run went back to an earlier step, or torn
        aside = path.with_name(f".removing-{path.name}-{uuid4().hex[:8]}")
        os.replace(path, aside)
        os.replace(temporary, path)
        shutil.rmtree(aside, ignore_errors=True)
    else:
        os.replace(temporary, path)
    _flush(path.parent)
