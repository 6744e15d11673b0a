"""`python -m cli.stack.guard HOME`: outlives a supervisor that was killed, and ends its parts.

Reads its standard input, a pipe from the supervisor: a line means that all is well and it may go; the end without a
line means that the supervisor is dead. It inherits the supervisor's lock, so a new `basin up` waits until the old parts
are gone.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from cli.stack.home import Home
from cli.stack.processes import Records, end_leftovers

PATIENCE_SECONDS = 3.0


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # It goes when the supervisor does, not before.
    home = Home(Path(sys.argv[1]))
    if sys.stdin.readline():
        return
    config = home.read_config()
    if config is not None:
        end_leftovers(home, config.stack_id, Records.read(home.records_file), patience_seconds=PATIENCE_SECONDS)


if __name__ == "__main__":
    main()
