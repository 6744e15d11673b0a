"""The trainer's errors: whatever ends a run other than its last step is a `TrainerError` with a reason of the contract.

Loads no torch, so that the driver on Ray can raise and read them.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from trainer.contract.ends import EndReason


class TrainerError(Exception):
    """Ends the attempt with `reason`; `detail` says which rank, field, file or step, and what to do."""

    def __init__(self, reason: EndReason, detail: str) -> None:
        super().__init__(reason, detail)  # both, so that the error survives pickling between processes
        self.reason = reason
        self.detail = detail

    def __str__(self) -> str:
        return self.detail


def rejected(detail: str) -> TrainerError:
    """The spec is well-formed but cannot be trained; `detail` begins with the field's path."""
    return TrainerError(EndReason.spec_rejected_by_trainer, detail)


@contextmanager
def exhaustion_named() -> Iterator[None]:
    """Turns running out of memory or disk, as torch and the system report it, into the reason a person reads."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise TrainerError(
            EndReason.out_of_memory,
            f"Out of memory: {first_line(error)}. Lower `micro_batch_size` or take a smaller model.",
        ) from error
    except OSError as error:
        if not is_disk_full(error):
            raise
        raise TrainerError(
            EndReason.disk_full, f"No space left for {error.filename or 'a checkpoint'}: free some, then resume."
        ) from error


def is_out_of_memory(error: BaseException) -> bool:
    # torch.OutOfMemoryError is a RuntimeError (named here, not imported); the CPU allocator has only its message.
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and "can't allocate memory" in str(error))
    )


def is_disk_full(error: OSError) -> bool:
    return error.errno in (errno.ENOSPC, errno.EDQUOT)


def first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
