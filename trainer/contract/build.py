"""Which Basin this is: what must be the same wherever it runs."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from trainer.contract.findings import Found, failed, ok

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


def own_versions() -> dict[str, str | None]:
    """Of this process's Basin and Python."""
    return {"basin": installed("basin"), "revision": source_revision(), "python": platform.python_version()}


def same_version(expected: dict[str, str | None], whose: str, mine: dict[str, str | None] | None = None) -> Found:
    """`expected` and `mine`: "basin", "revision", "python"; what either does not know is not compared."""
    mine = mine or own_versions()
    pairs = [(name, mine.get(name), expected.get(name)) for name in ("basin", "revision")]
    pairs.append(("python", _minor(mine.get("python")), _minor(expected.get("python"))))
    apart = [
        f"{name} {here} here, {there} in {whose}" for name, here, there in pairs if here and there and here != there
    ]
    if apart:
        return failed(
            "; ".join(apart),
            needed="one version of Basin everywhere, and one minor version of Python",
            remedy="Build and start every image from one source: in a clone run `make setup`",
        )
    known = ", ".join(f"{name} {here}" for name, here, _ in pairs if here)
    return ok(f"{known}, as {whose}")


def _minor(version: str | None) -> str | None:
    return None if version is None else ".".join(version.split(".")[:2])
