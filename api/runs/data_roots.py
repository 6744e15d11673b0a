"""Whether the folders of a run's data lie under the data roots: by their words always, by their links where seen here.

The trainer checks again, with links, before it reads: it may see other files, and files change.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from trainer.contract.data import Data
from trainer.contract.problems import SpecProblem

MAX_ROOTS_NAMED = 5


@dataclass(frozen=True, kw_only=True)
class Wrong:
    """What is wrong with a path, as the parts of a sentence."""

    allowed: str
    remedy: str


def folder_problems(data: Data, roots: Sequence[Path]) -> list[SpecProblem]:
    """What is wrong with the folders that `data` names; empty: nothing, or nothing that can be seen from here.

    `roots` are absolute. Nothing outside them is looked at, so that nobody learns what files this machine has.
    """
    problems = []
    for field, path in data.folders:
        if wrong := wrong_with(path, roots):
            problems.append(
                SpecProblem(path=f"spec.data.{field}", value=path[:120], allowed=wrong.allowed, remedy=wrong.remedy)
            )
    return problems


def wrong_with(path: str, roots: Sequence[Path]) -> Wrong | None:
    """What is wrong with a folder that should lie under one of `roots`; None: nothing that can be seen from here."""
    if not roots:
        return Wrong(
            allowed="no folder may be read, since no data root is configured",
            remedy="Set BASIN_DATA_ROOTS to the folders that hold data sets, and start the API again",
        )
    parts = PurePosixPath(path).parts
    if ".." in parts:
        return Wrong(allowed="must not contain `..`", remedy=f"Give the folder's own path under {_names(roots)}")
    candidates = [Path(path)] if os.path.isabs(path) else [root / path for root in roots]
    if not any(candidate.is_relative_to(root) for candidate in candidates for root in roots):
        return Wrong(allowed=f"must lie under {_names(roots)}", remedy="Move the data there, or mend the path")
    return _wrong_on_disk(candidates, roots)


def _wrong_on_disk(candidates: Sequence[Path], roots: Sequence[Path]) -> Wrong | None:
    """The first candidate that exists counts, as for the trainer. Where a root is not seen here, it may be there."""
    resolved_roots = [Path(os.path.realpath(root)) for root in roots]
    unseen = False
    for candidate in candidates:
        if not any(_is_seen(root) for root in roots if candidate.is_relative_to(root)):
            unseen = True
            continue
        is_there = False
        try:
            candidate.lstat()
            is_there = True
            resolved = Path(os.path.realpath(candidate, strict=True))
        except (FileNotFoundError, NotADirectoryError):
            if not is_there:
                continue
            return Wrong(allowed="is a link to nothing", remedy="Mend the link, or the path")
        except PermissionError:
            return None  # The trainer may be another user.
        except OSError as error:
            return Wrong(allowed=f"cannot be read: {error.strerror}", remedy="Mend the path")
        if not any(resolved.is_relative_to(root) for root in resolved_roots):
            return Wrong(
                allowed=f"leads by a link out of {_names(roots)}",
                remedy="Copy the data under a data root, or add the folder it leads to, to BASIN_DATA_ROOTS",
            )
        return None if resolved.is_dir() else Wrong(allowed="must be a folder", remedy="Mend the path")
    if unseen:
        return None
    return Wrong(
        allowed=f"does not exist under {_names(roots)}", remedy="Put the data there, or mend the path's spelling"
    )


def _is_seen(root: Path) -> bool:
    try:
        return root.is_dir()
    except OSError:
        return False


def _names(roots: Sequence[Path]) -> str:
    """The roots as a person writes them, a bounded number."""
    named = ", ".join(str(root) for root in roots[:MAX_ROOTS_NAMED])
    more = len(roots) - MAX_ROOTS_NAMED
    return f"{'the data root' if len(roots) == 1 else 'one of the data roots'} {named}" + (
        f" and {more} more" if more > 0 else ""
    )
