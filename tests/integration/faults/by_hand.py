"""Parts of a stack run by a test itself: beside the stack's own, or in place of one, with another setting or clock."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import psutil

from tests.integration.running_stack import RunningStack

NOTHING: Mapping[str, str] = MappingProxyType({})
END_SECONDS = 15.0
"""Celery takes up to ten to let a task end."""


@dataclass(frozen=True)
class Recipe:
    """How the stack runs a part: what `cli.stack.parts` made, read from the running process."""

    command: list[str]
    folder: Path
    environment: dict[str, str]

    @classmethod
    def of(cls, stack: RunningStack, part: str) -> Recipe:
        running = psutil.Process(stack.pid(part))
        return cls(running.cmdline(), Path(running.cwd()), running.environ())

    def start(
        self, log: Path, *, instead: Mapping[str, str] = NOTHING, settings: Mapping[str, str] = NOTHING
    ) -> subprocess.Popen[bytes]:
        """One more such process; `end` ends it. `instead`: words of the command line that are replaced, by what they
        are. `settings`: variables that are set or replaced. What it prints is appended to `log`."""
        missing = instead.keys() - set(self.command)
        assert not missing, f"{sorted(missing)} are not in the command line {self.command}"
        with log.open("ab") as output:
            return subprocess.Popen(
                [instead.get(word, word) for word in self.command], cwd=self.folder,
                env={**self.environment, **settings}, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True,
            )  # fmt: skip


def end(process: subprocess.Popen[bytes]) -> None:
    """Asks it to end, and kills it with its children where it does not."""
    process.terminate()
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
