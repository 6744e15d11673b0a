"""Which Basin this is: what must be the same wherever it runs."""

from __future__ import annotations

import os
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2]
REVISION_VARIABLE = "BASIN_REVISION"
"""Set in images, where there is no git."""
GIT_SECONDS = 5.0


def installed(package: str) -> str | None:
    """The version of an installed distribution; None where it is not there. Imports nothing of it."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


@cache
def source_revision() -> str | None:
    """Git's revision of this source, 12 characters; None where it is not known. Looks once a process."""
    if given := os.environ.get(REVISION_VARIABLE):
        return given[:12]
    if not (SOURCE / ".git").exists():
        return None
    try:
        asked = ["git", "-C", str(SOURCE), "rev-parse", "--short=12", "HEAD"]
        found = subprocess.run(asked, capture_output=True, text=True, timeout=GIT_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() or None
