"""Which version this checkout is: the tag of its images and the revision in their labels."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
REVISION_LENGTH = 12


def version(root: Path = ROOT) -> str:
    """Of pyproject.toml, e.g. "0.1.0". Raises ValueError where there is none."""
    # A host may have a Python without tomllib.
    found = re.search(r'^version = "([^"]+)"$', (root / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE)
    if found is None:
        raise ValueError(f"{root / 'pyproject.toml'} names no version: this is not a checkout of Basin")
    return found.group(1)


def revision(root: Path = ROOT) -> str:
    """Git's revision of the checkout, 12 characters; "" where it is not known."""
    try:
        asked = ["git", "-C", str(root), "rev-parse", f"--short={REVISION_LENGTH}", "HEAD"]
        found = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return found.stdout.strip()


def tag(root: Path = ROOT) -> str:
    """The tag of this checkout's images: its version and its revision, e.g. "0.1.0-1a2b3c4d5e6f"."""
    known = revision(root)
    return f"{version(root)}-{known}" if known else version(root)
