"""The files of an upload: pieces that become files, and what of them is there. No link is followed or made."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from stat import S_ISREG

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from api.errors import Conflict, Invalid
from api.runs.upload_place import Place

PART = ".part"
"""A file that is not whole ends so."""
MAX_PATH, MAX_DEPTH, MAX_COMPONENT = 1024, 8, 200
MAX_HEADER = 1024 * 1024
LARGE_BYTES = 64 * 2**20
"""From here on a file's SHA-256 is kept when it is whole: to read it again may take longer than anybody waits."""


class Piece(BaseModel):
    """Some bytes of a file; the header of a part lists those that follow it, in order."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str = Field(max_length=MAX_PATH)
    """Relative to the data set, with slashes."""
    offset: int = Field(ge=0)
    length: int = Field(ge=0)
    total: int = Field(ge=0)
    """Bytes of the whole file."""
    sha256: str = Field(pattern="^[0-9a-f]{64}$")
    """Of the whole file; compared when it is whole."""


def pieces_of(line: bytes) -> list[Piece]:
    """A part's header. Raises Invalid."""
    if len(line) > MAX_HEADER:
        raise Invalid(f"the part's header has more than {MAX_HEADER // 1024} KiB: send fewer files at once")
    try:
        return TypeAdapter(list[Piece]).validate_python(json.loads(line))
    except (ValueError, ValidationError, RecursionError):  # The last for lists in lists in lists.
        raise Invalid("the part must begin with a line of JSON, a list of its pieces") from None


def size_of(place: Place, path: str) -> int | None:
    """Bytes that are there of a file, whole or not; None: nothing is."""
    target = _inside(place, path)
    for candidate in (target, _part(target)):
        try:
            about = candidate.lstat()
        except OSError:
            continue
        if S_ISREG(about.st_mode):
            return about.st_size
    return None


def sha256_of(place: Place, path: str) -> tuple[str, int] | None:
    """Of a file that is whole, with the bytes that had to be read for it; None where it is not."""
    target = _inside(place, path)
    if not target.is_file():
        return None
    size = target.stat().st_size
    # A kept one may be that of a large file that gave way to a small one.
    if size >= LARGE_BYTES and (kept := _kept_hash(place, path)):
        return kept, 0
    with target.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest(), size


def write(place: Place, piece: Piece, content: bytes) -> int:
    """How many bytes of the file are there afterwards. A piece that comes twice counts once.

    A whole file that is not the one that the piece is of gives way to it: it was changed since an earlier try. Raises
    Invalid where the piece or the whole file is not what it says, Conflict where bytes before it are missing, OSError.
    """
    target = _inside(place, piece.path)
    if piece.offset + piece.length > piece.total:
        raise Invalid(f"{piece.path[:120]!r}: a piece ends behind the file's {piece.total} bytes")
    if target.is_file():
        found = sha256_of(place, piece.path) if target.stat().st_size == piece.total else None
        if found is not None and found[0] == piece.sha256:
            return piece.total
        target.unlink()
    _make_folders(place.growing, target.parent)
    there = _append(_part(target), piece, content)
    if there < piece.total:
        return there
    if piece.total >= LARGE_BYTES:
        _hash_file(place, piece.path).write_text(piece.sha256, encoding="ascii")
    _part(target).rename(target)
    return piece.total


def paths_after(folder: Path, after: Sequence[str] = ()) -> Iterator[str]:
    """Files that are there, whole or not, in the order of their names, folder by folder; those behind `after`, the
    components of a path. Folders before it are not read. Raises OSError."""
    first, below = (after[0], after[1:]) if after else ("", ())
    with os.scandir(folder) as entries:
        kinds = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    found = sorted((name.removesuffix("" if is_folder else PART), is_folder) for name, is_folder in kinds)
    for name, is_folder in found:
        if name < first:
            continue
        if is_folder:
            for path in paths_after(folder / name, below if name == first else ()):
                yield f"{name}/{path}"
        elif name != first:
            yield name


def _append(part: Path, piece: Piece, content: bytes) -> int:
    """Bytes of the file that are there afterwards; the file is dropped where all are, and are not what they should."""
    descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    with open(descriptor, "r+b") as file:
        there = file.seek(0, os.SEEK_END)
        if there > piece.total:
            # Of an earlier try with a file that was longer.
            there = file.truncate(0)
        if piece.offset > there:
            raise Conflict(
                f"{piece.path[:120]!r}: {there} bytes are there, the piece begins at {piece.offset}: send from there on"
            )
        file.seek(there)
        file.write(content[there - piece.offset :])
        there = max(there, piece.offset + piece.length)
        if there < piece.total:
            return there
        file.flush()
        file.seek(0)
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != piece.sha256:
        part.unlink()
        raise Invalid(
            f"{piece.path[:120]!r} is not what its SHA-256 says, and begins anew: it has changed meanwhile, so run the"
            " same command again when it rests"
        )
    return there


def _inside(place: Place, path: str) -> Path:
    """Raises Invalid for a path that could lead anywhere else, or that no file system takes."""
    parts = path.split("/")
    bad = any(
        not part or part.startswith(".") or part.endswith(PART)
        # Before it is encoded: half of a pair of surrogates cannot be.
        or not part.isprintable() or len(part.encode()) > MAX_COMPONENT
        for part in parts
    )  # fmt: skip
    if bad or len(parts) > MAX_DEPTH:
        raise Invalid(
            f"path {path[:120]!r} must be relative, at most {MAX_DEPTH} deep, of printable names that do not begin with"
            f" a dot, nor end in {PART}"
        )
    return place.growing.joinpath(*parts)


def _part(target: Path) -> Path:
    return target.with_name(target.name + PART)


def _make_folders(growing: Path, folder: Path) -> None:
    """Not `growing` itself: where that is gone, the upload was abandoned, and must not come back by a late piece."""
    for parent in reversed([folder, *folder.parents]):
        if growing in parent.parents:
            parent.mkdir(exist_ok=True)


def _hash_file(place: Place, path: str) -> Path:
    return place.hashes / hashlib.sha256(path.encode()).hexdigest()


def _kept_hash(place: Place, path: str) -> str | None:
    try:
        return _hash_file(place, path).read_text(encoding="ascii")
    except (OSError, ValueError):
        return None
