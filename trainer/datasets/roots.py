"""Where the folders of a run may lie. Loads no torch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

from trainer.contract.ends import EndReason
from trainer.errors import TrainerError


def unreadable(detail: str) -> TrainerError:
    return TrainerError(EndReason.data_unreadable, detail)


def shown(path: str) -> str:
    """A path as a person can read it: bytes that are no UTF-8 and control characters escaped."""
    readable = os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in readable)


@dataclass(frozen=True)
class DataRoots:
    """`folders` None: there is no service, any path goes, relative to the working folder."""

    folders: Sequence[str] | None

    def find(self, field: str, written: str, *, holds: str = "one folder per class") -> str:
        """The absolute path of the folder that `field` of the spec (or "") names, links not resolved.

        `holds` says in an error what should be in it.

        Raises TrainerError(data_unreadable) where there is none, or where it is outside the roots once they are.
        """
        path = self._where(field, written)
        if not os.path.isdir(path):
            what = "is a file" if os.path.isfile(path) else "is not there"
            at = "" if path == written else f" ({shown(path)})"
            named = f"{field} {shown(written)}".lstrip()
            raise unreadable(f"{named}{at} {what}: name a folder that holds {holds}.")
        if not self.holds(path):
            raise unreadable(
                f"{field} {shown(written)} leads to {shown(os.path.realpath(path))}, outside {self.named}: move what "
                "it holds under a data root, or ask for another root in BASIN_DATA_ROOTS."
            )
        return path

    def holds(self, path: str) -> bool:
        """Whether `path`, all links resolved, is a root or lies under one."""
        if self.folders is None:
            return True
        real = os.path.realpath(path)
        return any(_is_under(real, os.path.realpath(root)) for root in self.folders)

    @property
    def named(self) -> str:
        """For a sentence: "the data roots /data, /more"."""
        folders = [shown(folder) for folder in self.folders or ()]
        return f"the data root{'s' * (len(folders) != 1)} {', '.join(folders)}"

    def _where(self, field: str, written: str) -> str:
        if self.folders is None:
            return os.path.abspath(written)
        if not self.folders:
            raise unreadable(f"{field} {shown(written)}: no data root is configured. Set BASIN_DATA_ROOTS.")
        if os.path.isabs(written):
            return os.path.normpath(written)
        candidates = [os.path.normpath(os.path.join(root, written)) for root in self.folders]
        found = next((path for path in candidates if os.path.lexists(path)), None)
        if found is None:
            raise unreadable(
                f"{field} {shown(written)} is not there: looked in {self.named}. Put the folder there on every "
                "machine, or correct the path."
            )
        return found


def _is_under(path: str, root: str) -> bool:
    return path == root or path.startswith(root.rstrip(os.sep) + os.sep)
