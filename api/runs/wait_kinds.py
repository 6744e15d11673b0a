"""What queued runs wait for, as a few words to count by: the sentences that people read differ from run to run."""

from __future__ import annotations

from typing import Literal, get_args

WaitKind = Literal["new", "back_off", "slots", "behind", "quota", "ray", "api", "other"]
"""`new`: admission has not looked yet; `back_off`: after a failure; `slots`: first in line for slots; `behind`: others
are before it; `quota`: of its user; `ray`, `api`: that part cannot be reached."""
KINDS: tuple[WaitKind, ...] = get_args(WaitKind)
_BEGINNINGS: tuple[tuple[str, WaitKind], ...] = (
    ("needs ", "slots"),
    ("behind ", "behind"),
    ("Ray ", "ray"),
    ("the API ", "api"),
)


def wait_kind(reason: str | None, *, backing_off: bool = False) -> WaitKind:
    """Of a run's `wait_reason`, as admission writes it."""
    if backing_off:
        return "back_off"
    if reason is None:
        return "new"
    if "your quota" in reason:
        return "quota"
    return next((kind for beginning, kind in _BEGINNINGS if reason.startswith(beginning)), "other")
