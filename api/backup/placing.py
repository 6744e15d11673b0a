"""The files of a restore: copied to `.restoring-...` beside their places, then exchanged for what is there by renames.

What was there waits in `.replaced-...` until it is removed. Where a restore is cut off, both stay; the next one, or the
hourly collection a day later, removes them.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
from pathlib import Path

from api.backup.manifest import CHUNK, NOT_OURS, BackupRefused, SavedFile, Tell
from api.runs.collection import REPLACED_PREFIX, RESTORING_PREFIX, bytes_in


def free_bytes(storage: Path) -> int:
    """What a restore may use: free now, and what one that was cut off has left. Raises OSError."""
    return shutil.disk_usage(storage).free + sum(bytes_in(folder) for folder in _left(storage))


def sweep(storage: Path) -> None:
    """Removes what a restore that was cut off has left: its database was replaced, or will be now, so nothing in the
    database belongs to it."""
    for folder in _left(storage):
        shutil.rmtree(folder, ignore_errors=True)


def copy_beside(source: Path, target: Path, files: list[SavedFile], tell: Tell) -> None:
    """Copies the backup's files to `target`, which must be new, and compares them. Raises BackupRefused or OSError."""
    target.mkdir(mode=0o700)
    total, done = sum(file.bytes for file in files), 0
    for file in files:
        tell("files", done, total)
        place = target / file.path
        place.parent.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256()
        with (source / file.path).open("rb") as original, place.open("xb") as copy:
            while part := original.read(CHUNK):
                copy.write(part)
                digest.update(part)
        if digest.hexdigest() != file.sha256:
            raise BackupRefused(f"{source / file.path} changed while it was read: use another backup")
        os.utime(place, ns=(file.mtime_ns, file.mtime_ns))
        done += file.bytes
    tell("files", total, total)
    os.sync()


def change_places(storage: Path, fresh: Path, old: Path) -> None:
    """What is there moves to `old` and the new comes in its place; where that fails, it moves back. Raises OSError.

    An interruption waits meanwhile: these are a few renames.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        _rename_all(storage, fresh, old)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _rename_all(storage: Path, fresh: Path, old: Path) -> None:
    old.mkdir(mode=0o700)
    moved: list[tuple[Path, Path]] = []
    try:
        for source, target in ((storage, old), (fresh, storage)):
            for path in sorted(source.iterdir()):
                if source == storage and (
                    path.name.startswith((RESTORING_PREFIX, REPLACED_PREFIX)) or path.name in NOT_OURS
                ):
                    continue
                path.rename(target / path.name)
                moved.append((path, target / path.name))
    except OSError:
        for path, place in reversed(moved):
            place.rename(path)
        old.rmdir()
        raise


def _left(storage: Path) -> list[Path]:
    return [path for prefix in (RESTORING_PREFIX, REPLACED_PREFIX) for path in sorted(storage.glob(f"{prefix}*"))]
