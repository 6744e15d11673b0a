"""How far two clocks are apart, as far as an HTTP answer tells. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from trainer.contract.findings import Found, failed, ok, warning

SLIGHT_SECONDS = 5.0
"""More than a `Date` header, which has whole seconds, and a slow answer explain."""
LARGE_SECONDS = 60.0
"""Tokens with an end, signatures and TLS are judged by clocks."""


def judge_date(header: str | None, *, asked_at: float, answered_at: float) -> Found:
    """`header`: of an answer; the two times by the clock of this process (Unix seconds)."""
    try:
        theirs = parsedate_to_datetime(header or "")
    except ValueError:
        return warning(
            f"the answer has no date ({header!r:.60})",
            needed="a `Date` header",
            remedy="Let the proxy before the API pass it on",
        )
    theirs = theirs if theirs.tzinfo else theirs.replace(tzinfo=UTC)
    # The header is cut to whole seconds: on average half of one is missing.
    return judge_skew(theirs.timestamp() + 0.5 - (asked_at + answered_at) / 2, "the API's clock")


def judge_skew(seconds: float, whose: str) -> Found:
    """`seconds`: theirs minus ours."""
    apart = abs(seconds)
    if apart <= SLIGHT_SECONDS:
        return ok(f"within {SLIGHT_SECONDS:g} s of {whose}")
    found = f"{whose} is {apart:,.0f} s {'ahead of' if seconds > 0 else 'behind'} this one's"
    needed = f"clocks within {SLIGHT_SECONDS:g} s"
    remedy = "Let every machine keep its time (chrony or systemd-timesyncd): `timedatectl` shows whether it does"
    if apart > LARGE_SECONDS:
        return failed(found, needed=needed, remedy=remedy)
    return warning(found, needed=needed, remedy=remedy)


def now() -> float:
    """Unix seconds by this machine's clock."""
    return datetime.now(UTC).timestamp()
