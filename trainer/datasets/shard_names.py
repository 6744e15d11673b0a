"""Which tar files a pattern names: braces as webdataset expands them, then wildcards. Loads no torch."""

from __future__ import annotations

import glob
import os
import re
from itertools import islice

from braceexpand import braceexpand

from trainer.datasets.catalogue import named
from trainer.datasets.roots import DataRoots, shown, unreadable

MAX_SHARDS = 100_000
_RANGE = re.compile(r"\{(-?\d{1,18})\.\.(-?\d{1,18})")
_WILD = re.compile(r"[*?\[]")


def shards(field: str, pattern: str, roots: DataRoots) -> list[str]:
    """Absolute paths, in the order of the braces, and by name where a wildcard stands for several.

    Raises TrainerError(data_unreadable) where there is none, where one that the braces name is missing, or where one
    leads out of the roots.
    """
    found = []
    for written in _expanded(field, pattern):
        if _WILD.search(written):
            found += _matching(field, written, roots)
        else:
            found.append(roots.find_file(field, written))
        if len(found) > MAX_SHARDS:
            raise _too_many(field, pattern)
    return found


def _expanded(field: str, pattern: str) -> list[str]:
    # A range is counted before it is expanded: `{0..999999999}` would fill the memory.
    if any(abs(int(last) - int(first)) >= MAX_SHARDS for first, last in _RANGE.findall(pattern)):
        raise _too_many(field, pattern)
    try:
        expanded = list(islice(braceexpand(pattern, escape=False), MAX_SHARDS + 1))
    except ValueError as error:
        raise unreadable(
            f"{field} {shown(pattern)}: {error}. Close each brace, as in train-{{000..003}}.tar."
        ) from error
    if len(expanded) > MAX_SHARDS:
        raise _too_many(field, pattern)
    return expanded


def _matching(field: str, pattern: str, roots: DataRoots) -> list[str]:
    for start in roots.starts(field, pattern):
        found = sorted(path for path in glob.iglob(start) if os.path.isfile(path))
        if found:
            for path in found:
                roots.must_hold(f"{field} {shown(pattern)}: {shown(path)}", path)
            return found
    raise unreadable(
        f"{field} {named(pattern, pattern)} names no file: put the tar files there, or correct the pattern."
    )


def _too_many(field: str, pattern: str) -> Exception:
    return unreadable(f"{field} {shown(pattern)} names more than {MAX_SHARDS} files: must be fewer. Join shards.")
