"""`basin data upload FOLDER NAME`: a folder of images to the installation's data root, over the API.

Small files travel many at a time and large ones in pieces. Whatever breaks, the same command goes on from there: what
has arrived is compared by its SHA-256, so what has changed in between is sent anew.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from cli.answers import Unreachable
from cli.client import Client
from cli.connection import connect
from cli.data_page import readable_bytes
from cli.failure import ExitCode, Failure
from cli.options import AsJson, Token, Url, print_json
from cli.upload_requests import UploadedView

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
PART_BYTES = 8 * 2**20
PART_FILES = 1_000
ASK_SECONDS = 300.0
"""The last question waits until all is on the disk."""
NAMED_FILES = 5
"""Of many that are too much, so many are named."""
PATIENCE_SECONDS = 120.0
"""An API that is away is asked again for so long."""


@dataclass(frozen=True)
class Local:
    """A file of the folder."""

    path: Path
    name: str
    """Relative, with slashes."""
    size: int


def upload(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The data set, e.g. a folder with one per class.")],
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Its new name under the data root; specs use it as path.")
    ],
    abandon: Annotated[
        bool, typer.Option("--abandon", help="Remove what an earlier try has sent, and send nothing.")
    ] = False,
    as_json: AsJson = False,
    url: Url = None,
    token: Token = None,
) -> None:
    """Send a data set to the installation; again after whatever went wrong, it sends what is missing.

    It appears under its name at once, when all of it is there and every file is what it was here.
    """
    if not NAME.fullmatch(name):
        raise Failure(
            f"NAME {name!r} must be up to 64 letters, digits, '.', '_' or '-', and begin with one of the two",
            ExitCode.refused,
        )
    with connect(url, token, ASK_SECONDS) as client:
        if abandon:
            client.uploads.abandon(name)
            print_json({"abandoned": name}) if as_json else typer.echo(f"what was sent of {name} is removed")
            return
        try:
            done = _send_whole(client, folder, name)
        except OSError as error:
            raise Failure(
                f"{error.filename or folder} cannot be read ({error.strerror}): mend that, and run the command again",
                ExitCode.refused,
            ) from None
    if as_json:
        print_json(done)
        return
    typer.echo(f"{done.path}: {done.files:,} files, {readable_bytes(done.bytes)}; a spec names it as `{name}`")


def files_in(folder: Path) -> list[Local]:
    """Every file, in order; hidden ones are left out. Raises Failure for a link, or where there is nothing."""
    if not folder.is_dir():
        raise Failure(f"{folder} is no folder: give the folder of a data set", ExitCode.refused)
    found = []
    for parent, names, files in os.walk(folder):
        names[:] = sorted(each for each in names if not each.startswith("."))
        for each in [*names, *sorted(files)]:
            path = Path(parent, each)
            if path.is_symlink():
                raise Failure(
                    f"{path} is a link: links are not sent, since they may lead anywhere; put the file there",
                    ExitCode.refused,
                )
            if each in names or each.startswith("."):
                continue
            found.append(Local(path, path.relative_to(folder).as_posix(), path.stat().st_size))
    if not found:
        raise Failure(f"{folder} holds no files: give the folder of a data set", ExitCode.refused)
    return found


def _send_whole(client: Client, folder: Path, name: str) -> UploadedView:
    files = files_in(folder)
    resumes = client.uploads.begin(name).resumes
    _send_all(client, name, files, resumes=resumes)
    if resumes:
        _must_be_no_more(client, name, files, folder)
    return client.uploads.finish(name, files=len(files), size=sum(file.size for file in files))


def _send_all(client: Client, name: str, files: Sequence[Local], *, resumes: bool) -> None:
    console = Console(stderr=True)
    columns = TextColumn("sending"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=sum(file.size for file in files))
        for start in range(0, len(files), PART_FILES):
            chosen = files[start : start + PART_FILES]
            offsets = offsets_of(client, name, chosen) if resumes else dict.fromkeys([file.name for file in chosen], 0)
            bar.advance(task, sum(offsets.get(file.name, file.size) for file in chosen))
            for pieces, content in parts_of(chosen, offsets):
                _send(client, name, pieces, content)
                bar.advance(task, len(content))


def offsets_of(client: Client, name: str, files: Sequence[Local]) -> dict[str, int]:
    """Where each file is to be sent from; those that are there and the same as here are left out."""
    there = client.uploads.have(name, [file.name for file in files]).bytes
    whole = _hashes_there(client, name, list(there))
    offsets = {}
    for file in files:
        sent = there.get(file.name, 0)
        if file.name not in whole:
            # All bytes of a file that is not whole: a last, empty piece has them looked at. More: it was longer.
            offsets[file.name] = sent if sent <= file.size else 0
        elif sent != file.size or whole[file.name] != _sha256(file):
            offsets[file.name] = 0
    return offsets


def _hashes_there(client: Client, name: str, paths: Sequence[str]) -> dict[str, str]:
    """Of those that are whole there; the API reads as many at once as it can in a few seconds."""
    found: dict[str, str] = {}
    while waiting := [path for path in paths if path not in found]:
        more = client.uploads.have(name, waiting, sha256=True).sha256
        if not more:
            break
        found |= more
    return found


def _must_be_no_more(client: Client, name: str, files: Sequence[Local], folder: Path) -> None:
    """Raises Failure where an earlier try has sent files that are not here any more."""
    known = {file.name for file in files}
    others = sorted({path for path in client.uploads.sent(name) if path not in known})
    if others:
        named = ", ".join(others[:NAMED_FILES]) + (", ..." if len(others) > NAMED_FILES else "")
        raise Failure(
            f"of {name} {len(others):,} files were sent that {folder} does not hold ({named}): put them back, or remove"
            f" what was sent with `basin data upload {folder} {name} --abandon` and send it anew",
            ExitCode.refused,
        )


def parts_of(files: Sequence[Local], offsets: dict[str, int]) -> Iterator[tuple[list[dict[str, Any]], bytes]]:
    """Pieces with their bytes, at most 8 MiB a part, of the files in `offsets`, each from its offset on."""
    pieces: list[dict[str, Any]] = []
    content = bytearray()
    for file in files:
        if file.name not in offsets:
            continue
        offset, sha256 = offsets[file.name], _sha256(file)
        with file.path.open("rb") as source:
            source.seek(offset)
            while True:
                part = source.read(min(PART_BYTES - len(content), file.size - offset))
                about = {"path": file.name, "offset": offset, "length": len(part), "total": file.size, "sha256": sha256}
                pieces.append(about)
                content += part
                offset += len(part)
                if len(content) >= PART_BYTES:
                    yield pieces, bytes(content)
                    pieces, content = [], bytearray()
                if offset >= file.size:
                    break
                if not part:
                    raise Failure(f"{file.path} became shorter while it was sent: run the command again when it rests")
    if pieces:
        yield pieces, bytes(content)


def _sha256(file: Local) -> str:
    with file.path.open("rb") as source:
        return hashlib.file_digest(source, "sha256").hexdigest()


def _send(client: Client, name: str, pieces: Sequence[dict[str, Any]], content: bytes) -> None:
    """Again while the API does not answer; a piece that comes twice counts once."""
    give_up_at, pause = time.monotonic() + PATIENCE_SECONDS, 0.5
    while True:
        try:
            client.uploads.send(name, pieces, content)
            return
        except Unreachable:
            if time.monotonic() > give_up_at:
                raise
        time.sleep(pause)
        pause = min(10.0, 2 * pause)
