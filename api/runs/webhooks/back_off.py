"""When a message that was not taken is sent again: the schedule that Standard Webhooks proposes."""

from __future__ import annotations

MINUTE, HOUR = 60.0, 3600.0
DELAYS_SECONDS = (5.0, 5 * MINUTE, 30 * MINUTE, 2 * HOUR, 5 * HOUR, 10 * HOUR, 14 * HOUR, 20 * HOUR, 24 * HOUR)
"""After the first failure, the second, ...: ten attempts in about 75 hours."""
JITTER = 0.1
"""Part of a delay by which it may be longer, so that messages that failed together do not come back together."""
MAX_ATTEMPTS = len(DELAYS_SECONDS) + 1


def delay_seconds(failures: int, fraction: float, retry_after_seconds: int | None = None) -> float | None:
    """Seconds until the next attempt after `failures` of them (>= 1); null: it was the last. Pure.

    `fraction` in 0..1 is chance. A receiver that asked for a longer wait gets it, up to the longest of ours.
    """
    if failures > len(DELAYS_SECONDS):
        return None
    delay = DELAYS_SECONDS[failures - 1] * (1 + JITTER * fraction)
    asked = min(float(retry_after_seconds or 0), DELAYS_SECONDS[-1])
    return max(delay, asked)
