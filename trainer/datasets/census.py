"""Looks at every image of a folder: decodes it, and counts classes, sizes, modes, damage and copies. Loads no torch."""

from __future__ import annotations

import hashlib
import signal
from collections import Counter
from collections.abc import Generator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from io import BytesIO
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from trainer.datasets.decoding import Undecodable, decode
from trainer.datasets.folder_files import FolderFiles

CHUNK = 32
"""Files a process looks at before it answers."""
WAITING_CHUNKS = 4
"""Chunks handed out at a time, per process."""
DIGEST_BYTES = 16


class Look(NamedTuple):
    """One file. `why` says what is wrong with it; then size and mode may be unknown."""

    width: int
    height: int
    mode: str
    num_bytes: int
    digest: bytes
    why: str | None


def look(path: str) -> Look:
    width, height, mode, why = 0, 0, "", None
    content = b""
    with suppress(Exception):  # nothing is lost: `decode` fails of the same and says why
        content = Path(path).read_bytes()
        with Image.open(BytesIO(content)) as image:
            (width, height), mode = image.size, image.mode
    try:
        decode(BytesIO(content) if content else path)
    except Undecodable as error:
        why = str(error)
    except MemoryError:
        why = "does not fit into memory"
    digest = hashlib.blake2b(content, digest_size=DIGEST_BYTES).digest()
    return Look(width, height, mode, len(content), digest, why)


def looks(files: FolderFiles, num_processes: int) -> Generator[tuple[int, Look], None, None]:
    """Every image's number and look, as they come. Close it to end the processes early.

    Raises BrokenProcessPool if a process dies, as a crash of a decoder would make it.
    """
    labels = files.labels
    starts = iter(range(0, len(files), CHUNK))
    pool = ProcessPoolExecutor(num_processes, mp_context=get_context("fork"), initializer=_ignore_interrupts)
    under_way: dict[Future[list[Look]], int] = {}
    try:
        while True:
            for start in islice(starts, WAITING_CHUNKS * num_processes - len(under_way)):
                numbers = np.arange(start, min(start + CHUNK, len(files)))
                under_way[pool.submit(_look_at_all, files.paths(numbers, labels[numbers]))] = start
            if not under_way:
                return
            done, _ = wait(under_way, return_when=FIRST_COMPLETED)
            for future in done:
                start = under_way.pop(future)
                yield from enumerate(future.result(), start)
    finally:
        pool.shutdown(cancel_futures=True)


def _look_at_all(paths: list[str]) -> list[Look]:
    return [look(path) for path in paths]


def _ignore_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the first one decides


@dataclass(kw_only=True)
class Census:
    """What was seen of a folder's images so far."""

    files: FolderFiles
    seen: npt.NDArray[np.bool_] = field(init=False)
    sizes: npt.NDArray[np.int32] = field(init=False)
    """Width and height; 0 where unknown."""
    digests: npt.NDArray[np.uint8] = field(init=False)
    modes: Counter[str] = field(default_factory=Counter)
    broken: dict[int, str] = field(default_factory=dict)
    """Number of the image -> what is wrong with it."""
    num_bytes: int = 0

    def __post_init__(self) -> None:
        n = len(self.files)
        self.seen = np.zeros(n, dtype=np.bool_)
        self.sizes = np.zeros((n, 2), dtype=np.int32)
        self.digests = np.zeros((n, DIGEST_BYTES), dtype=np.uint8)

    def add(self, number: int, look: Look) -> None:
        self.seen[number] = True
        self.sizes[number] = look.width, look.height
        self.digests[number] = np.frombuffer(look.digest, dtype=np.uint8)
        self.num_bytes += look.num_bytes
        if look.mode:
            self.modes[look.mode] += 1
        if look.why is not None:
            self.broken[number] = look.why

    def known_sizes(self) -> npt.NDArray[np.int32]:
        """Of the images that could be opened, (N, 2)."""
        return self.sizes[self.sizes[:, 0] > 0]


def copies(censuses: list[Census]) -> list[list[tuple[int, int]]]:
    """Groups of images of the same bytes, each as (number of the census, number of the image); empty files apart."""
    where = np.concatenate([np.full(len(c.files), i) for i, c in enumerate(censuses)])
    numbers = np.concatenate([np.arange(len(c.files)) for c in censuses])
    digests = np.concatenate([c.digests for c in censuses])
    nothing = np.frombuffer(hashlib.blake2b(b"", digest_size=DIGEST_BYTES).digest(), dtype=np.uint8)
    wanted = np.concatenate([c.seen for c in censuses]) & (digests != nothing).any(axis=1)
    where, numbers = where[wanted], numbers[wanted]
    as_bytes = np.ascontiguousarray(digests[wanted]).view(f"V{DIGEST_BYTES}").ravel()
    _, group, counts = np.unique(as_bytes, return_inverse=True, return_counts=True)
    members = np.argsort(group, kind="stable")
    cuts = np.cumsum(counts)
    repeated = np.flatnonzero(counts > 1)
    found = [members[cuts[g] - counts[g] : cuts[g]] for g in repeated.tolist()]
    return sorted([[(int(where[i]), int(numbers[i])) for i in group] for group in found])
