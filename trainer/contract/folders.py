"""Room and folders of a machine that trains: shared memory, disks, the storage."""

from __future__ import annotations

import secrets
import shutil
from pathlib import Path

from trainer.contract.findings import Found, failed, ok, warning

GIB = 2**30
SHARED_MEMORY = Path("/dev/shm")
SHARED_MEMORY_BYTES = GIB
"""For Ray's object store and reading processes, and as much again for each GPU: NCCL and pinned batches."""
LITTLE_BYTES = 10 * GIB
TOO_LITTLE_BYTES = GIB
LITTLE_TEMPORARY_BYTES = GIB
"""For compilers and sockets; in containers it is often memory of a few GiB, so what a disk has would never be there."""
TOO_LITTLE_TEMPORARY_BYTES = GIB // 8
PROOF_FILE = ".basin-storage"


def shared_memory(num_gpus: int, folder: Path = SHARED_MEMORY) -> Found:
    """Its size, used or not. Containers get 64 MB of it unless they are told otherwise."""
    needed = SHARED_MEMORY_BYTES * (1 + num_gpus)
    size = shutil.disk_usage(folder).total
    if size >= needed:
        return ok(f"{folder} holds {gib(size)}")
    return failed(
        f"{folder} holds {gib(size)}",
        needed=f"{gib(needed)} (1 GiB, and 1 GiB for each of {num_gpus} GPUs)",
        remedy="Give the container `shm_size` or `ipc: host`; on a host, remount it: mount -o remount,size=8g /dev/shm",
    )


def free_disk(folder: Path, what: str) -> Found:
    """Of the nearest folder above that is there, where `folder` is still to be made."""
    remedy = f"Make room where {what} lies: `basin admin collect --dry-run` says what could go"
    return _judge_room(folder, little=LITTLE_BYTES, too_little=TOO_LITTLE_BYTES, remedy=remedy)


def temporary_disk(folder: Path) -> Found:
    """What runs keep lies elsewhere, so less will do, and nothing that Basin collects makes room here."""
    remedy = (
        f"Remove what ended processes left in {folder}; or give the container a larger one (`tmpfs` of the worker in"
        " docker-compose.yml); or set TMPDIR to a folder with more room"
    )
    return _judge_room(folder, little=LITTLE_TEMPORARY_BYTES, too_little=TOO_LITTLE_TEMPORARY_BYTES, remedy=remedy)


def _judge_room(folder: Path, *, little: int, too_little: int, remedy: str) -> Found:
    there = next(path for path in (folder, *folder.parents) if path.exists())
    usage = shutil.disk_usage(there)
    found = f"{gib(usage.free)} free of {gib(usage.total)} at {there}"
    if usage.free < too_little:
        return failed(found, needed=f"at least {gib(too_little)}", remedy=remedy)
    if usage.free < little:
        return warning(found, needed=gib(little), remedy=remedy)
    return ok(found)


def own_storage(storage: Path) -> Found:
    """Whether it is there, has its proof, and keeps what is written. Says nothing about who else sees it."""
    if not (storage / PROOF_FILE).is_file():
        return failed(
            f"{storage / PROOF_FILE} is not there",
            needed="the storage that the API sees, with that file in it",
            remedy=f"Mount the storage at {storage} on this machine, or start the API first, which makes the file",
        )
    return _keeps(storage, "Let the user of this process write there (owner, mode, mount option)")


def writable(folder: Path) -> Found:
    """Makes the folder where it is missing."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        return failed(
            f"{folder} cannot be made ({error.strerror})",
            needed="a folder to write to",
            remedy="Make it, or name another",
        )
    return _keeps(folder, "Let the user of this process write there, or name another folder")


def _keeps(folder: Path, remedy: str) -> Found:
    written = secrets.token_hex(16)
    probe = folder / f".doctor-{secrets.token_hex(4)}"
    try:
        probe.write_text(written)
        read = probe.read_text()
    except OSError as error:
        return failed(
            f"{folder} cannot be written ({error.strerror})", needed="a write that can be read", remedy=remedy
        )
    finally:
        probe.unlink(missing_ok=True)
    if read != written:
        return failed(
            f"{folder} gave back other bytes than were written",
            needed="a write that can be read",
            remedy="Replace the disk",
        )
    return ok(f"{folder} keeps what is written")


def shared_storage(folder: Path, writers: dict[str, str], me: str) -> Found:
    """Whether this process sees what others wrote (name of file -> content) in a folder of the storage, and may write
    beside it, as `me`."""
    unseen = [name for name, content in writers.items() if _read(folder / name) != content]
    if unseen:
        return failed(
            f"what {' and '.join(unseen)} wrote to {folder.parent} is not seen here",
            needed="one storage for API, Celery worker and trainers",
            remedy=f"Mount the same storage at {folder.parent} everywhere, or set BASIN_STORAGE to where it is",
        )
    try:
        (folder / me).write_text(writers[next(iter(writers))])
    except OSError as error:
        return failed(
            f"{folder.parent} cannot be written here ({error.strerror})",
            needed="a storage that every part may write to",
            remedy="Let the user of this process write there (owner, mode, mount option)",
        )
    return ok(f"sees what {' and '.join(writers)} wrote to {folder.parent}, and writes there")


def _read(path: Path) -> str | None:
    try:
        return path.read_text()
    except OSError:
        return None


def gib(count: int) -> str:
    return f"{count / GIB:.3g} GiB" if count >= GIB / 10 else f"{count / 2**20:.3g} MiB"
