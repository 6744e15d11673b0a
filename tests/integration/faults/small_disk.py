"""A disk of a few megabytes for the storage, to be filled and freed again: a tmpfs, which only root can mount."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

SIZE_MEGABYTES = 96


class SmallDisk:
    """Mounted at `folder` from `mount` to `unmount`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler"

    @staticmethod
    def can_be_mounted() -> bool:
        return os.geteuid() == 0

    def mount(self) -> None:
        self.folder.mkdir(parents=True)
        options = f"size={SIZE_MEGABYTES}m,mode=700"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.folder)], check=True)

    def unmount(self) -> None:
        subprocess.run(["umount", "--lazy", str(self.folder)], check=True)

    def fill(self) -> None:
        """Takes every byte that is left."""
        for size in (2**20, 2**12):
            try:
                with self._filler.open("ab", buffering=0) as file:
                    while True:
                        file.write(bytes(size))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise

    def free(self) -> None:
        self._filler.unlink(missing_ok=True)
