"""The health checks of the containers: `python -m worker.health worker`, `python -m worker.health beat`.

A ping proves nothing: a Celery worker that is connected and takes no task answers it. So the worker is healthy if it
has just finished a task, and is sent canaries of our own where it has not; beat, if it has just sent something.
Exit status 0 or 1, with one sentence.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from worker.alive import BEAT, WORKER, seconds_since_sign, sign_path

RECENT_SECONDS = 30.0
"""Beat sends, and so a worker takes, something at least every ten."""
WAIT_SECONDS = 8.0
"""For a canary of our own; a container's health check should be given some seconds more."""
BETWEEN_SECONDS = 1.0
"""Another is sent so often: where there are several workers, the first may have gone to another one."""
USAGE = "usage: python -m worker.health worker|beat"


def main(arguments: Sequence[str]) -> int:
    if list(arguments) == [BEAT]:
        return _tell(*beat_health())
    if list(arguments) in ([WORKER], []):
        return _tell(*worker_health())
    return _tell(False, USAGE)


def beat_health() -> tuple[bool, str]:
    """Whether it is well, and the sentence."""
    age = seconds_since_sign(BEAT)
    if age is None:
        return False, f"beat has not sent anything yet: is the broker up? (no sign at {sign_path(BEAT)})"
    if age > RECENT_SECONDS:
        return False, f"beat sent nothing for {age:.0f} s: is the broker up? Look at its log, and restart it"
    return True, f"beat sent something {age:.0f} s ago"


def worker_health() -> tuple[bool, str]:
    """The same; takes some seconds where the worker has finished no task lately."""
    age = seconds_since_sign(WORKER)
    if age is not None and age <= RECENT_SECONDS:
        return True, f"the worker finished a task {age:.0f} s ago"
    return _round_trip()


def _round_trip() -> tuple[bool, str]:
    """Only the sign of this container's own worker counts, so canaries go until it is there."""
    # Slow to load, and seldom needed.
    from api.dispatch import Dispatcher
    from api.runs.canary import TASK
    from api.settings import settings_or_exit

    began_at = time.monotonic()
    dispatcher = Dispatcher(settings_or_exit())
    try:
        while (passed := time.monotonic() - began_at) < WAIT_SECONDS:
            dispatcher.send([(TASK, (WORKER, 0))])
            time.sleep(BETWEEN_SECONDS)
            age = seconds_since_sign(WORKER)
            if age is not None and age <= time.monotonic() - began_at:
                return True, f"the worker took a canary task within {passed + BETWEEN_SECONDS:.0f} s"
    finally:
        dispatcher.close()
    return False, (
        f"the worker took no canary task within {WAIT_SECONDS:g} s: is the broker up? Look at its log, and restart it"
    )


def _tell(healthy: bool, sentence: str) -> int:
    print(sentence, file=sys.stdout if healthy else sys.stderr)
    return 0 if healthy else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
