"""Data sets that come over the API: files in pieces into a folder out of sight, which gets its name at once when whole.

    <root>/.uploading-<name>/      as it grows; a file that is not whole ends in `.part`
    <root>/.uploading-<name>.by    whose it is
    <root>/<name>/                 once everything is there

Nothing is overwritten, nothing lies outside the first data root, and no link is followed or made. A piece that comes
twice counts once, so whoever loses an answer sends it again.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from api.errors import Conflict, Invalid, NotAllowed, NotFound, TooLarge, Unavailable
from api.runs.access import Caller
from api.runs.schemas import Answer
from api.settings import Settings

UPLOADING, PART, OWNER = ".uploading-", ".part", ".by"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
MAX_PATH, MAX_DEPTH, MAX_COMPONENT = 1024, 8, 200
MAX_PIECES = 2_000
MAX_HEADER = 1024 * 1024


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


class WantedFiles(BaseModel):
    """Body of POST /data/uploads/{name}/have."""

    model_config = ConfigDict(extra="forbid")

    paths: list[str] = Field(max_length=MAX_PIECES)


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


class Uploaded(Answer):
    name: str
    path: str
    """Absolute, as trainers see it where they mount the data root at the same place."""
    files: int
    bytes: int


@dataclass(frozen=True)
class _Place:
    root: Path
    name: str

    @property
    def growing(self) -> Path:
        return self.root / f"{UPLOADING}{self.name}"

    @property
    def owner(self) -> Path:
        return self.root / f"{UPLOADING}{self.name}{OWNER}"

    @property
    def final(self) -> Path:
        return self.root / self.name


def begin(settings: Settings, caller: Caller, name: str) -> Upload:
    """Makes the folder, or finds the caller's own. Raises NotAllowed, Invalid, Conflict, Unavailable."""
    place = _place(settings, caller, name)
    try:
        with place.owner.open("x", encoding="utf-8") as file:
            file.write(caller.name)
    except FileExistsError:
        _must_be_mine(place, caller)
    except OSError as error:
        raise Unavailable(
            f"the API cannot write to the data root {place.root} ({error.strerror}): mount it writable, or put"
            " the data there by hand"
        ) from None
    resumes = place.growing.is_dir()
    place.growing.mkdir(exist_ok=True)
    return Upload(name=name, folder=name, resumes=resumes)


def have(settings: Settings, caller: Caller, name: str, paths: Sequence[str]) -> HaveFiles:
    """How much of each file is there. Raises as `begin`, and NotFound where it was not begun."""
    place = _begun(settings, caller, name)
    found = {path: _size(place, path) for path in paths}
    return HaveFiles(bytes={path: size for path, size in found.items() if size is not None})


def take_part(settings: Settings, caller: Caller, name: str, body: bytes) -> HaveFiles:
    """A line of JSON, a list of pieces, then their bytes. Returns how much of each of their files is there now.

    Raises as `have`, Invalid where the part is malformed or a file is not what its hash says (it then begins anew),
    Conflict where bytes before a piece are missing, TooLarge where the disk or the set's bound is full.
    """
    place = _begun(settings, caller, name)
    line, _, content = body.partition(b"\n")
    pieces = _pieces(line)
    if sum(piece.length for piece in pieces) != len(content):
        raise Invalid(f"the part has {len(content)} bytes, its header says {sum(piece.length for piece in pieces)}")
    _must_have_room(settings, place, len(content))
    at, sizes = 0, dict[str, int]()
    for piece in pieces:
        try:
            sizes[piece.path] = _write(place, piece, content[at : at + piece.length])
        except OSError as error:
            raise Conflict(
                f"{piece.path[:120]!r} cannot be written ({error.strerror}): mend what is in the way"
            ) from None
        at += piece.length
    return HaveFiles(bytes=sizes)


def finish(settings: Settings, caller: Caller, name: str, whole: WholeSet) -> Uploaded:
    """Gives the data set its name. Raises as `have`, and Conflict where files are missing or not whole."""
    place = _begun(settings, caller, name)
    files = size = parts = 0
    for path in _files(place.growing):
        files, parts = files + 1, parts + path.name.endswith(PART)
        size += path.stat().st_size
    if (files, size, parts) != (whole.files, whole.bytes, 0):
        raise Conflict(
            f"{files:,} files with {size:,} bytes are there ({parts:,} not whole), {whole.files:,} with {whole.bytes:,}"
            " were to come: run the same command again, which sends what is missing"
        )
    os.sync()
    _must_be_free(place)
    try:
        place.growing.rename(place.final)
    except OSError as error:
        raise Conflict(f"{place.final} cannot be made ({error.strerror}): choose another name") from None
    place.owner.unlink(missing_ok=True)
    return Uploaded(name=name, path=str(place.final), files=files, bytes=size)


def abandon(settings: Settings, caller: Caller, name: str) -> None:
    """Removes what has come so far. Raises as `have`."""
    place = _begun(settings, caller, name)
    shutil.rmtree(place.growing)
    place.owner.unlink(missing_ok=True)


def _place(settings: Settings, caller: Caller, name: str) -> _Place:
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
    place = _Place(settings.data_roots[0], name)
    _must_be_free(place)
    return place


def _must_be_free(place: _Place) -> None:
    if place.final.exists() or place.final.is_symlink():
        raise Conflict(f"there is a data set {place.name!r} in {place.root} already: choose another name")


def _begun(settings: Settings, caller: Caller, name: str) -> _Place:
    place = _place(settings, caller, name)
    if not place.growing.is_dir() or place.growing.is_symlink():
        raise NotFound(f"no upload of {name!r} was begun: begin it anew")
    _must_be_mine(place, caller)
    return place


def _must_be_mine(place: _Place, caller: Caller) -> None:
    try:
        owner = place.owner.read_text(encoding="utf-8")
    except OSError:
        owner = ""
    if owner != caller.name:
        raise Conflict(f"somebody else uploads a data set {place.name!r}: choose another name, or wait for it")


def _pieces(line: bytes) -> list[Piece]:
    if len(line) > MAX_HEADER:
        raise Invalid(f"the part's header has more than {MAX_HEADER // 1024} KiB: send fewer files at once")
    try:
        return TypeAdapter(list[Piece]).validate_python(json.loads(line))
    except (ValueError, ValidationError):
        raise Invalid("the part must begin with a line of JSON, a list of its pieces") from None


def _inside(place: _Place, path: str) -> Path:
    """Raises Invalid for a path that could lead anywhere else, or that no file system takes."""
    parts = path.split("/")
    bad = any(
        not part or part.startswith(".") or len(part.encode()) > MAX_COMPONENT or not part.isprintable()
        for part in parts
    )
    if bad or len(parts) > MAX_DEPTH or path.endswith(PART):
        raise Invalid(
            f"path {path[:120]!r} must be relative, at most {MAX_DEPTH} deep, of printable names that do not begin with"
            f" a dot, nor end in {PART}"
        )
    return place.growing.joinpath(*parts)


def _size(place: _Place, path: str) -> int | None:
    target = _inside(place, path)
    for candidate in (target, target.with_name(target.name + PART)):
        try:
            return candidate.lstat().st_size
        except OSError:
            continue
    return None


def _write(place: _Place, piece: Piece, content: bytes) -> int:
    """How many bytes of the file are there afterwards."""
    target = _inside(place, piece.path)
    growing = target.with_name(target.name + PART)
    if target.is_file():
        return target.stat().st_size
    if piece.offset + piece.length > piece.total:
        raise Invalid(f"{piece.path[:120]!r}: a piece ends behind the file's {piece.total} bytes")
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(growing, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    with open(descriptor, "r+b") as file:
        there = file.seek(0, os.SEEK_END)
        if piece.offset > there:
            raise Conflict(f"{piece.path[:120]!r}: {there} bytes are there, the piece begins at {piece.offset}")
        file.write(content[there - piece.offset :])
        there = max(there, piece.offset + piece.length)
        if there < piece.total:
            return there
        file.flush()
        file.seek(0)
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if there != piece.total or found != piece.sha256:
        growing.unlink()
        raise Invalid(f"{piece.path[:120]!r} is not what its SHA-256 says, and begins anew: has it changed meanwhile?")
    growing.rename(target)
    return piece.total


def _must_have_room(settings: Settings, place: _Place, length: int) -> None:
    free = shutil.disk_usage(place.root).free
    if free - length < settings.data_uploads_leave_gib * 2**30:
        raise TooLarge(f"the disk of {place.root} has {free:,} bytes left: make room there, and run the command again")


def _files(folder: Path) -> Iterator[Path]:
    for parent, _, names in os.walk(folder):
        yield from (Path(parent, name) for name in names)
