"""Data sets that come over the API: files in pieces into a folder out of sight, which gets its name at once when whole.

`api/runs/upload_place.py` says where that is, `api/runs/upload_files.py` what is in it. Nothing is overwritten, nothing
lies outside the first data root, and no link is followed or made. A piece that comes twice counts once, so whoever
loses an answer sends it again.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from api.errors import BasinError, Conflict, Invalid, NotAllowed, NotFound, TooLarge
from api.runs.access import Caller
from api.runs.schemas import Answer
from api.runs.upload_files import PART, Piece, paths_after, pieces_of, sha256_of, size_of, write
from api.runs.upload_place import (
    ABANDONED_DAYS,
    BARRED,
    FULL,
    Place,
    cannot_write,
    claim,
    must_be_theirs,
    remove,
    touch,
)
from api.settings import Settings

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
MAX_PIECES = 2_000
PATHS_AT_ONCE = 5_000
READ_AT_ONCE_BYTES = 2 * 2**30
"""For hashes in one answer; seconds on a slow disk."""


class WantedFiles(BaseModel):
    """Body of POST /data/uploads/{name}/have."""

    model_config = ConfigDict(extra="forbid")

    paths: list[str] = Field(max_length=MAX_PIECES)
    sha256: bool = False
    """Whether the answer shall tell what is in them."""


class WholeSet(BaseModel):
    """Body of POST /data/uploads/{name}/finish: what must be there."""

    model_config = ConfigDict(extra="forbid")

    files: int = Field(ge=1)
    bytes: int = Field(ge=0)


class Upload(Answer):
    name: str
    folder: str
    """Where it will be; as a run's spec names it: relative to the data root."""
    resumes: bool
    """Whether there is something of it already, by the same person."""


class HaveFiles(Answer):
    bytes: dict[str, int]
    """Path -> bytes that are there; those of which nothing is there are left out."""
    sha256: dict[str, str]
    """Path -> of files that are whole, where it was asked for. As many as can be read in a few seconds, one at least:
    ask again for the others."""


class SentFiles(Answer):
    paths: list[str]
    """In the order of their names, folder by folder; those that are not whole too."""
    more: bool
    """Whether there are others behind them: ask with the last one as `after`."""


class Uploaded(Answer):
    name: str
    path: str
    """Absolute, as trainers see it where they mount the data root at the same place."""
    files: int
    bytes: int


def begin(settings: Settings, caller: Caller, name: str) -> Upload:
    """Makes the folder, or finds the caller's own. Raises NotAllowed, Invalid, Conflict, TooLarge on a full disk."""
    place = _place(settings, caller, name)
    _must_be_free(place)
    return Upload(name=name, folder=name, resumes=claim(place, caller.name))


def have(settings: Settings, caller: Caller, name: str, paths: Sequence[str], *, sha256: bool = False) -> HaveFiles:
    """How much of each file is there, and what. Raises as `begin`, and NotFound where it was not begun."""
    place = _begun(settings, caller, name)
    sizes = {path: size_of(place, path) for path in paths}
    hashes, read = dict[str, str](), 0
    for path in paths if sha256 else ():
        try:
            found = sha256_of(place, path)
        except OSError as error:
            raise _cannot_take(place, path, error) from None
        if found is not None:
            hashes[path], read = found[0], read + found[1]
        if read >= READ_AT_ONCE_BYTES:
            break
    return HaveFiles(bytes={path: size for path, size in sizes.items() if size is not None}, sha256=hashes)


def sent(settings: Settings, caller: Caller, name: str, after: str | None) -> SentFiles:
    """What is there, behind the path `after`: an upload that is too much is told so file by file. Raises as `have`."""
    place = _begun(settings, caller, name)
    try:
        paths = list(islice(paths_after(place.growing, after.split("/") if after else ()), PATHS_AT_ONCE + 1))
    except OSError as error:
        raise _changes(place, error) from None
    return SentFiles(paths=paths[:PATHS_AT_ONCE], more=len(paths) > PATHS_AT_ONCE)


def take_part(settings: Settings, caller: Caller, name: str, body: bytes) -> HaveFiles:
    """A line of JSON, a list of pieces, then their bytes. Returns how much of each of their files is there now.

    Raises as `have`, Invalid where the part is malformed or a file is not what its hash says (it then begins anew),
    Conflict where bytes before a piece are missing, TooLarge where the disk or the set's bound is full.
    """
    place = _begun(settings, caller, name)
    line, _, content = body.partition(b"\n")
    pieces = pieces_of(line)
    if sum(piece.length for piece in pieces) != len(content):
        raise Invalid(f"the part has {len(content)} bytes, its header says {sum(piece.length for piece in pieces)}")
    _must_have_room(settings, place, len(content))
    return HaveFiles(bytes=_write_all(place, pieces, content), sha256={})


def finish(settings: Settings, caller: Caller, name: str, whole: WholeSet) -> Uploaded:
    """Gives the data set its name. Raises as `have`, and Conflict where files are missing, not whole or too many."""
    place = _begun(settings, caller, name)
    try:
        files, size, parts = _count(place.growing)
    except OSError as error:
        raise _changes(place, error) from None
    if (files, size, parts) != (whole.files, whole.bytes, 0):
        raise Conflict(
            f"{files:,} files with {size:,} bytes are there ({parts:,} not whole), {whole.files:,} with {whole.bytes:,}"
            " were to come: run the same command again, which sends what is missing and names what is too much; with"
            " `--abandon` it removes what was sent"
        )
    os.sync()
    _must_be_free(place)
    try:
        place.growing.rename(place.final)
    except OSError as error:
        raise Conflict(f"{place.final} cannot be made ({error.strerror}): choose another name") from None
    # It has its name; what cannot be removed goes when it is a week old.
    shutil.rmtree(place.own, ignore_errors=True)
    return Uploaded(name=name, path=str(place.final), files=files, bytes=size)


def abandon(settings: Settings, caller: Caller, name: str) -> None:
    """Removes what has come so far: one's own, what is nobody's, and for admins anybody's. Raises as `have`."""
    place = _place(settings, caller, name)
    if not place.is_there:
        raise NotFound(f"no upload of {name!r} was begun: there is nothing to remove")
    if caller.role != "admin" and place.whose():
        must_be_theirs(place, caller.name)
    try:
        remove(place.own)
    except FileNotFoundError:
        return  # Somebody else did meanwhile.
    except OSError as error:
        if error.errno in BARRED:
            raise cannot_write(place.root, error) from None
        raise Conflict(
            f"not all of the upload of {name!r} could be removed ({error.strerror}), for something was just coming: its"
            f" name is free, and what is left goes by itself in {ABANDONED_DAYS:.0f} days"
        ) from None


def _place(settings: Settings, caller: Caller, name: str) -> Place:
    allowed = {"off": (), "admins": ("admin",), "members": ("admin", "member")}[settings.data_uploads]
    if caller.role not in allowed:
        who = {"off": "nobody", "admins": "only admins", "members": "only members and admins"}[settings.data_uploads]
        raise NotAllowed(f"{who} may upload data here (BASIN_DATA_UPLOADS={settings.data_uploads}): ask an admin")
    if not NAME.fullmatch(name):
        raise Invalid(
            f"name {name[:80]!r} must be up to 64 letters, digits, '.', '_' or '-', and begin with one of the two"
        )
    if not settings.data_roots:
        raise Conflict("no data root is configured: set BASIN_DATA_ROOTS to the folders that hold data sets")
    return Place(settings.data_roots[0], name)


def _must_be_free(place: Place) -> None:
    if place.final.exists() or place.final.is_symlink():
        raise Conflict(f"there is a data set {place.name!r} in {place.root} already: choose another name")


def _begun(settings: Settings, caller: Caller, name: str) -> Place:
    place = _place(settings, caller, name)
    _must_be_free(place)
    must_be_theirs(place, caller.name)
    return place


def _write_all(place: Place, pieces: Sequence[Piece], content: bytes) -> dict[str, int]:
    """Bytes of each file that are there afterwards."""
    at, sizes = 0, dict[str, int]()
    for piece in pieces:
        try:
            sizes[piece.path] = write(place, piece, content[at : at + piece.length])
        except OSError as error:
            raise _cannot_take(place, piece.path, error) from None
        at += piece.length
    try:
        touch(place)
    except OSError as error:
        raise _changes(place, error) from None
    return sizes


def _cannot_take(place: Place, path: str, error: OSError) -> BasinError:
    if error.errno in (*FULL, *BARRED):
        return cannot_write(place.root, error)
    if error.errno == errno.ENOENT:
        return _changes(place, error)
    return Conflict(
        f"{path[:120]!r} cannot be written ({error.strerror}), as where a folder was a file in an earlier try: remove"
        " what was sent (`--abandon`), and begin anew"
    )


def _changes(place: Place, error: OSError) -> Conflict:
    return Conflict(
        f"the upload of {place.name!r} was abandoned or changed by somebody else just now ({error.strerror}): run the"
        " command again"
    )


def _must_have_room(settings: Settings, place: Place, length: int) -> None:
    free = shutil.disk_usage(place.root).free
    if free - length < settings.data_uploads_leave_gib * 2**30:
        raise TooLarge(f"the disk of {place.root} has {free:,} bytes left: make room there, and run the command again")


def _count(folder: Path) -> tuple[int, int, int]:
    """Files, their bytes, and how many are not whole. Raises OSError where one goes away meanwhile."""
    files = size = parts = 0
    for path in _files(folder):
        files, parts = files + 1, parts + path.name.endswith(PART)
        size += path.stat().st_size
    return files, size, parts


def _files(folder: Path) -> Iterator[Path]:
    for parent, _, names in os.walk(folder):
        yield from (Path(parent, name) for name in names)
