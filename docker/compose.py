"""`docker compose` as the upgrade uses it. What it prints is passed on; what fails becomes one exception."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path


class Failed(Exception):
    """A command did not start, or ended otherwise than with 0; the message names it."""


class Compose:
    """The project in `root`, by its own docker-compose.yml or by another `file` beside it."""

    def __init__(self, root: Path, *, file: Path | None = None, environment: Mapping[str, str] | None = None) -> None:
        self._command = ["docker", "compose", *(["--file", str(file)] if file else [])]
        self._root, self._environment = root, {**os.environ, **(environment or {})}

    def run(self, *arguments: str) -> None:
        """Raises Failed."""
        self._ended(arguments, stdout=None)

    def answer(self, *arguments: str) -> str:
        """What it prints on standard output. Raises Failed."""
        return self._ended(arguments, stdout=subprocess.PIPE).strip()

    def _ended(self, arguments: Sequence[str], *, stdout: int | None) -> str:
        command = [*self._command, *arguments]
        try:
            ended = subprocess.run(
                command, cwd=self._root, env=self._environment, check=False, stdout=stdout, text=True
            )
        except OSError as error:
            raise Failed(
                f"`{self._command[0]}` does not start ({error.strerror}): install Docker Engine with its Compose plugin"
                " (docs/deployment.md), or put it on the path"
            ) from None
        if ended.returncode != 0:
            raise Failed(f"`{shlex.join(command)}` ended with {ended.returncode}")
        return ended.stdout or ""
