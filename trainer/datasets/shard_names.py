"""Tar files: which a pattern names (braces as webdataset expands them, then wildcards), and opening one. No torch."""

from __future__ import annotations

import glob
import os
import re
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice

from braceexpand import braceexpand

from trainer.datasets.catalogue import named
from trainer.datasets.roots import DataRoots, shown, unreadable

MAX_SHARDS = 100_000
LOOKED_INTO = 1_000
"""Shards that `must_begin_as_tars` opens: a second or two on a slow file system."""
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


def must_begin_as_tars(field: str, pattern: str, paths: Sequence[str]) -> None:
    """Reads the first header of each, of the first 1,000.

    Raises TrainerError(data_unreadable) where one is no tar file, or where none of them has a member.
    """
    looked_into = paths[:LOOKED_INTO]
    have_members = False
    for path in looked_into:
        with opened(path) as tar:
            have_members = have_members or tar.next() is not None
    if not have_members and len(looked_into) == len(paths):
        raise unreadable(f"{field} {shown(pattern)}: the {len(paths)} tar files are empty. Write them anew.")


@contextmanager
def opened(path: str) -> Iterator[tarfile.TarFile]:
    """Raises TrainerError(data_unreadable), also for what reading the tar file raises inside."""
    try:
        with tarfile.open(path, "r:") as tar:  # not compressed: in a compressed file no member can be found
            yield tar
    except (tarfile.TarError, EOFError) as error:
        raise unreadable(
            f"{shown(path)} is no whole tar file, or a compressed one ({error}): write it anew, uncompressed."
        ) from error
    except OSError as error:
        raise unreadable(f"{shown(path)} cannot be read ({error.strerror or error}).") from error


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
