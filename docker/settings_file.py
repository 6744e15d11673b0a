"""`.env`, the deployment's settings, as Compose reads them: `NAME=value` lines, which only their owner may read."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

OWNER_ONLY = 0o600


def read(file: Path) -> dict[str, str]:
    """Its values, without quotes around them; comments are passed over. Raises OSError."""
    found: dict[str, str] = {}
    for line in file.read_text(encoding="utf-8").splitlines():
        name, sign, value = line.partition("=")
        if sign and not name.lstrip().startswith("#"):
            found[name.strip()] = value.strip().strip("\"'")
    return found


def write_new(file: Path, text: str) -> None:
    """A new file, for its owner only. Raises FileExistsError rather than overwrite one."""
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY), "w", encoding="utf-8") as output:
        output.write(text)


def change(file: Path, values: Mapping[str, str]) -> None:
    """Sets `values` where the names stand, else at the end; the rest stays as it is. All of it or nothing."""
    left, lines = dict(values), []
    for line in file.read_text(encoding="utf-8").splitlines():
        name = line.partition("=")[0].strip()
        lines.append(f"{name}={left.pop(name)}" if name in left else line)
    lines += [f"{name}={value}" for name, value in left.items()]
    fresh = file.with_name(f"{file.name}.new")
    fresh.unlink(missing_ok=True)
    write_new(fresh, "\n".join(lines) + "\n")
    fresh.replace(file)
