"""Copies the storage into a backup; what has not changed since the backup before is linked to its copy there.

Never linked to the storage itself: what happens to a file there must not happen to its copy.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from api.backup.manifest import CHUNK, NOT_OURS, STORAGE_FOLDER, BackupRefused, Manifest, SavedFile, Tell
from api.runs.collection import LEFTOVER_PREFIXES

PASSED_OVER = (".writing-", ".removing-", ".basin-storage.", *LEFTOVER_PREFIXES)
"""Names of what is half written, half removed, or of use for a moment."""


@dataclass(frozen=True)
class Base:
    """An earlier backup whose copies may be shared."""

    folder: Path
    files: dict[str, SavedFile]

    @classmethod
    def of(cls, folder: Path, manifest: Manifest) -> Base:
        return cls(folder, {file.path: file for file in manifest.files})


class StorageCopy:
    """The copy as it grows; `files` says what is in it."""

    def __init__(self, storage: Path, folder: Path, base: Base | None, tell: Tell) -> None:
        self.files: dict[str, SavedFile] = {}
        self.linked = 0
        """Files that are shared with the backup before."""
        self._storage, self._target, self._base, self._tell = storage, folder / STORAGE_FOLDER, base, tell
        self._bytes = 0

    def take_all(self) -> None:
        """Everything that is there; what was taken before and has not changed stays."""
        total = sum(size for _, size in self._found(self._storage))
        self._bytes = 0
        for path, size in self._found(self._storage):
            self._tell("files", self._bytes, max(total, self._bytes))
            self._take(path)
            self._bytes += size
        self._tell("files", self._bytes, self._bytes)

    def take_folder(self, relative: str) -> None:
        """One folder of the storage, before the others; nothing where it is gone."""
        for path, _ in self._found(self._storage / relative):
            self._take(path)

    def _found(self, top: Path) -> Iterator[tuple[Path, int]]:
        """Regular files below `top` with their sizes, in order. Links are not followed."""
        for folder, names, files in os.walk(top, onerror=_refuse_unless_gone):
            passed_over = NOT_OURS if Path(folder) == self._storage else ()
            names[:] = sorted(name for name in names if not name.startswith(PASSED_OVER) and name not in passed_over)
            for name in sorted(files):
                path = Path(folder, name)
                try:
                    about = path.lstat()
                except FileNotFoundError:
                    continue  # Removed meanwhile: old checkpoints are, while runs train.
                if stat.S_ISREG(about.st_mode) and not name.startswith(PASSED_OVER):
                    yield path, about.st_size

    def _take(self, path: Path) -> None:
        relative = path.relative_to(self._storage).as_posix()
        target = self._target / relative
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        except OSError as error:
            return _refuse_unless_gone(error)
        with open(descriptor, "rb") as source:
            about = os.fstat(source.fileno())
            unchanged = (about.st_size, about.st_mtime_ns)
            before = self.files.get(relative)
            if before is not None and (before.bytes, before.mtime_ns) == unchanged:
                return
            target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            shared = self._base.files.get(relative) if self._base is not None else None
            if shared is not None and (shared.bytes, shared.mtime_ns) == unchanged and self._link(relative, target):
                self.files[relative] = shared
                return
            target.unlink(missing_ok=True)
            digest, size = hashlib.sha256(), 0
            with open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as copy:
                while part := source.read(CHUNK):
                    copy.write(part)
                    digest.update(part)
                    size += len(part)
        os.utime(target, ns=(about.st_mtime_ns, about.st_mtime_ns))
        self.files[relative] = SavedFile(
            path=relative, bytes=size, sha256=digest.hexdigest(), mtime_ns=about.st_mtime_ns
        )

    def _link(self, relative: str, target: Path) -> bool:
        assert self._base is not None
        original = self._base.folder / STORAGE_FOLDER / relative
        try:
            if original.stat().st_size != self._base.files[relative].bytes:
                return False
            target.unlink(missing_ok=True)
            os.link(original, target)
        except OSError:
            return False  # Another filesystem, or one without links: it is copied.
        self.linked += 1
        return True


def _refuse_unless_gone(error: OSError) -> None:
    """A folder or file that cannot be opened would be missing in the backup; one that is gone is gone.

    Raises BackupRefused.
    """
    if not isinstance(error, FileNotFoundError):
        raise BackupRefused(
            f"{error.filename} cannot be read ({error.strerror}), so the backup would lack it: make the backup as the"
            " user that API and trainers run as, or let that user read it"
        ) from error
