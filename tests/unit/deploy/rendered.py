"""docker-compose.yml as Compose itself understands it, beside a `.env` that `make deploy-init` wrote."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from docker import init

ROOT = Path(__file__).parents[3]
NAMED = ("docker-compose.yml", "pyproject.toml", "docker", "requirements")


def tool(name: str) -> str:
    """The path of a program that comes with our wheels; skips where there are no wheels of it."""
    path = Path(sys.executable).with_name(name)
    if not path.exists():
        if (sys.platform, platform.machine()) == ("linux", "x86_64"):
            pytest.fail(f"{path} is missing: run `make setup`")
        pytest.skip(f"{name} has no wheel for {sys.platform} on {platform.machine()}")
    return str(path)


def checkout(folder: Path) -> Path:
    """What a deployment needs of the repository, in a folder of its own; no `.env` yet."""
    for name in NAMED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    return folder


def compose(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Compose without an engine, and without what this shell has set."""
    return subprocess.run(
        [tool("docker-compose"), "--profile", "*", *arguments],
        cwd=root, env={"PATH": os.environ["PATH"], "HOME": str(root)}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def config(folder: Path, given: dict[str, str] | None = None) -> dict[str, Any]:
    """The whole project, all profiles, all variables filled in."""
    root = checkout(folder)
    init.initialise(root, given or {})
    ended = compose(root, "config", "--format", "json")
    assert ended.returncode == 0, ended.stderr
    rendered: dict[str, Any] = json.loads(ended.stdout)
    return rendered
