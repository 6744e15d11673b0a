"""Where an upload grows, whose it is, and how it goes away.

    <root>/.uploading-<name>/by        whose it is; its time is when something of it last came
    <root>/.uploading-<name>/files/    as it grows
    <root>/.uploading-<name>/hashes/   of large files that are whole
    <root>/<name>/                     once everything is there

What is out of sight is one folder, so one rename takes an upload away, and no part that is just coming brings it back.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from api.errors import BasinError, Conflict, NotFound, TooLarge

UPLOADING = ".uploading-"
GONE = ".gone-"
"""Of what is being removed: no upload's name begins with a dot."""
ABANDONED_DAYS = 7.0
DAY_SECONDS = 86_400.0
FULL = (errno.ENOSPC, errno.EDQUOT)
BARRED = (errno.EACCES, errno.EPERM, errno.EROFS)


@dataclass(frozen=True)
class Place:
    root: Path
    name: str

    @property
    def own(self) -> Path:
        """All of it, until it has its name."""
        return self.root / f"{UPLOADING}{self.name}"

    @property
    def owner(self) -> Path:
        return self.own / "by"

    @property
    def growing(self) -> Path:
        return self.own / "files"

    @property
    def hashes(self) -> Path:
        return self.own / "hashes"

    @property
    def final(self) -> Path:
        return self.root / self.name

    @property
    def is_there(self) -> bool:
        """Whether anything of it is. A link in its place is none of ours."""
        return self.own.is_dir() and not self.own.is_symlink()

    def whose(self) -> str:
        """A person's name; "" where it is nobody's, as after a disk that was full when it began."""
        try:
            return self.owner.read_text(encoding="utf-8")
        except (OSError, ValueError):
            return ""


def claim(place: Place, who: str) -> bool:
    """Makes it theirs; whether it was so already. Raises Conflict where it is another's, TooLarge on a full disk."""
    if place.own.is_symlink():
        raise Conflict(f"{place.own} is a link, which is not followed: remove it, or choose another name")
    try:
        place.own.mkdir(exist_ok=True)
        if not _write_owner(place, who):
            if not place.whose():
                place.owner.unlink(missing_ok=True)
                _write_owner(place, who)
            must_be_theirs(place, who)
        resumes = place.growing.is_dir()
        for folder in (place.growing, place.hashes):
            folder.mkdir(exist_ok=True)
        touch(place)
    except OSError as error:
        raise cannot_write(place.root, error) from None
    return resumes


def must_be_theirs(place: Place, who: str) -> None:
    """Raises NotFound where it is nobody's, Conflict where it is another's."""
    owner = place.whose() if place.is_there else ""
    if not owner:
        raise NotFound(f"no upload of {place.name!r} was begun: begin it anew")
    if owner != who:
        raise Conflict(
            f"somebody else uploads a data set {place.name!r}: choose another name, or wait for it; an admin may"
            " abandon it"
        )


def touch(place: Place) -> None:
    """Something of it came just now. Raises OSError."""
    os.utime(place.owner)


def remove(own: Path) -> None:
    """Its name is free at once, and a part that is just coming finds nothing there. Raises OSError."""
    gone = own.with_name(f"{UPLOADING}{GONE}{secrets.token_hex(4)}")
    own.rename(gone)
    shutil.rmtree(gone)


def abandoned(root: Path, *, days: float = ABANDONED_DAYS) -> Iterator[Path]:
    """Uploads, and what is left of some, of which nothing came for so long."""
    since = time.time() - days * DAY_SECONDS
    for own in sorted(root.glob(f"{UPLOADING}*")):
        if own.is_dir() and not own.is_symlink() and _last_came_at(own) < since:
            yield own


def cannot_write(root: Path, error: OSError) -> BasinError:
    """What the person is told, who can do nothing about it, to tell whoever runs the installation."""
    if error.errno in FULL:
        return TooLarge(f"the disk of {root} is full ({error.strerror}): make room there, and run the command again")
    user = os.geteuid()
    return Conflict(
        f"the API, which runs as user {user}, cannot write to the data root {root} ({error.strerror}): let whoever runs"
        f" the installation mount it writable there, and `chown {user}` the folder that is mounted; or lay the data"
        " there by hand"
    )


def _write_owner(place: Place, who: str) -> bool:
    """False where there is one. A disk that is full leaves none, or the name would be nobody's and yet taken."""
    try:
        with place.owner.open("x", encoding="utf-8") as file:
            file.write(who)
    except FileExistsError:
        return False
    except OSError:
        place.owner.unlink(missing_ok=True)
        raise
    return True


def _last_came_at(own: Path) -> float:
    for path in (own / "by", own):
        try:
            return path.lstat().st_mtime
        except OSError:
            continue
    return time.time()
