"""Long work of a library that says nothing while it goes on: done beside, so that whoever watches sees life."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

SIGN_SECONDS = 1.0

Result = TypeVar("Result")


def waiting_for(work: Callable[[], Result], getting_on: Callable[[], None]) -> Result:
    """What `work` returns or raises; `getting_on` is called about once a second until then, in the caller's thread."""
    with ThreadPoolExecutor(1, thread_name_prefix="data") as beside:
        result = beside.submit(work)
        while wait([result], timeout=SIGN_SECONDS).not_done:
            getting_on()
        return result.result()
