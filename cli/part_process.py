"""Work of another package, done by a process of its own that prints one JSON object a line: the trainer's, which needs
torch, and the control plane's, which needs the database."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from cli.failure import ExitCode, Failure

ENDS = {"refused": ExitCode.refused, "failed": ExitCode.failed}
"""Messages after which there is none, and what they mean for whoever waits."""
END_SECONDS = 30.0
"""For a process that has said its last to end by itself: a signal would strike it while it leaves."""


def messages(
    module: str, arguments: Sequence[str], environment: Mapping[str, str] | None = None
) -> Iterator[dict[str, Any]]:
    """What `python -m MODULE ARGUMENTS` prints, as it comes; ends with the process, or ends it when closed: read it to
    its end, also where the answer has come.

    `environment`: instead of ours.

    Raises Failure for {"event": "refused" | "failed", "sentence"}, where the process was interrupted (130), and where
    it ends otherwise than with 0 or 1, which its messages have explained: whoever waits for one that did not come
    raises `no_answer`. Ctrl-C is passed on and ends it.
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
            if message["event"] in ENDS:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(END_SECONDS)
                raise Failure(message["sentence"], ENDS[message["event"]])
            yield message
        if process.wait() == ExitCode.interrupted:
            raise Failure(f"`python -m {module}` was interrupted", ExitCode.interrupted)
        if process.returncode not in (ExitCode.done, ExitCode.failed):
            raise Failure(f"`python -m {module}` ended with {process.returncode}; the lines above say why")
    except KeyboardInterrupt:
        process.send_signal(signal.SIGINT)
        raise
    finally:
        process.stdout.close()
        if process.poll() is None:
            process.terminate()
        process.wait()


def no_answer(module: str) -> Failure:
    """A process has ended, and the message that it was started for did not come."""
    return Failure(f"`python -m {module}` ended without an answer; the lines above say why")
