"""What a command could not do, as one sentence and an exit code; no traceback reaches a person."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of every `basin` command, documented in `cli/README.md`."""

    done = 0
    failed = 1
    """The run failed or was cancelled, a part of the stack did not start, a port is taken."""
    refused = 2
    """Bad input: the spec, an option, a file, an id that is not there."""
    unreachable = 3
    """No API answered, or it refused the token."""
    interrupted = 130


class Failure(Exception):
    """A sentence for the person at the terminal: what is wrong, what is allowed, what to do."""

    def __init__(self, sentence: str, exit_code: ExitCode = ExitCode.failed) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.exit_code = exit_code
