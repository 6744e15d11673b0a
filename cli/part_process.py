"""Work of another package, done by a process of its own that prints one JSON object a line: the trainer's, which needs
torch, and the control plane's, which needs the database."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cli.failure import ExitCode, Failure


def messages(
    module: str, arguments: Sequence[str], environment: Mapping[str, str] | None = None
) -> Iterator[dict[str, Any]]:
    """What `python -m MODULE ARGUMENTS` prints, as it comes; ends with the process, or ends it when closed.

    `environment`: instead of ours.

    Raises Failure for {"event": "refused", "sentence"}, and where the process ends otherwise than with 0 or 1 (which
    its messages have explained). Ctrl-C is passed on and ends it.
    """
    # A session of its own: Ctrl-C reaches this process, which passes it on once.
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=environment,
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            message = json.loads(line)
            if message["event"] == "refused":
                raise Failure(message["sentence"], ExitCode.refused)
            yield message
        if process.wait() not in (ExitCode.done, ExitCode.failed):
            raise Failure(f"`python -m {module}` ended with {process.returncode}; the lines above say why")
    except KeyboardInterrupt:
        process.send_signal(signal.SIGINT)
        raise
    finally:
        process.stdout.close()
        if process.poll() is None:
            process.terminate()
        process.wait()
