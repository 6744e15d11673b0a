"""`docker compose` as the upgrade uses it. What it prints is passed on; what fails becomes one exception."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path


class Failed(Exception):
    """A command ended otherwise than with 0; the message names it."""


class Compose:
    """The project in `root`, by its own docker-compose.yml or by another `file` beside it."""

    def __init__(self, root: Path, *, file: Path | None = None, environment: Mapping[str, str] | None = None) -> None:
        self._command = ["docker", "compose", *(["--file", str(file)] if file else [])]
        self._root, self._environment = root, {**os.environ, **(environment or {})}

    def run(self, *arguments: str) -> None:
        """Raises Failed."""
        self._checked(subprocess.run(self._all(arguments), cwd=self._root, env=self._environment, check=False))

    def answer(self, *arguments: str) -> str:
        """What it prints on standard output. Raises Failed."""
        ended = subprocess.run(
            self._all(arguments), cwd=self._root, env=self._environment, check=False, stdout=subprocess.PIPE, text=True
        )
        self._checked(ended)
        return str(ended.stdout).strip()

    def _all(self, arguments: Sequence[str]) -> list[str]:
        return [*self._command, *arguments]

    @staticmethod
    def _checked(ended: subprocess.CompletedProcess[str] | subprocess.CompletedProcess[bytes]) -> None:
        if ended.returncode != 0:
            raise Failed(f"`{shlex.join(ended.args)}` ended with {ended.returncode}")
