"""A stack of a benchmark's own, as a person starts it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Stack:
    """A stack of our own, idle but for what is measured."""

    url: str
    token: str
    ray_url: str
    ray_token: str


@contextmanager
def running_stack(home: Path) -> Iterator[Stack]:
    """`basin up` with two slots in `home`. Raises SystemExit where it does not come up."""
    basin = Path(sys.executable).with_name("basin")
    process = subprocess.Popen(
        [str(basin), "up", "--slots", "2"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "BASIN_HOME": str(home)},
    )  # fmt: skip
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if "/#token=" in line:
                break
        else:
            raise SystemExit("the stack did not come up; run `basin up` to see why")
        # The pipe must be emptied, or the stack would block on its own logs.
        subprocess.Popen(["cat"], stdin=process.stdout, stdout=subprocess.DEVNULL)
        url, token = line.split()[-1].split("/#token=")
        ports = json.loads((home / "config.json").read_text(encoding="utf-8"))["ports"]
        yield Stack(
            url=url,
            token=token,
            ray_url=f"http://127.0.0.1:{ports['ray_jobs']}",
            ray_token=(home / "ray-token").read_text(encoding="utf-8").strip(),
        )
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)
