"""The clock of one part of a stack, jumped while it runs: by libfaketime, preloaded into that process alone."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import time
from pathlib import Path

import httpx

from tests.integration.faults.by_hand import Recipe, end
from tests.integration.running_stack import RunningStack, until

REPOSITORY = Path(__file__).resolve().parents[3]
PACKAGES = REPOSITORY / "build" / "faults" / "packages"
LIBRARY = PACKAGES / "libfaketime" / "vendor" / "libfaketime" / "src" / "libfaketime.so.1"
SETTLE_SECONDS = 2.0
START_SECONDS = 120.0
"""For the API, while other tests have the processors: 6 s without them."""


def library() -> Path:
    """libfaketime's, installed at the first use into a folder of its own: it is built by a C compiler."""
    assert importlib.util.find_spec("pip"), "pip is missing: run `make setup`"
    if not LIBRARY.exists():
        needed = Path(__file__).with_name("clock.txt")
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--upgrade", "--target"]
        subprocess.run([*command, str(PACKAGES), "-r", str(needed)], check=True, capture_output=True)
    return LIBRARY


class OwnClock:
    """One part, run by the test in place of the stack, with a clock that `jump` moves. Monotonic clocks go on."""

    def __init__(self, stack: RunningStack, part: str, folder: Path) -> None:
        self._stack, self._part = stack, part
        self._offset = folder / f"clock-of-{part}"
        self._offset.write_text("+0\n")
        self._recipe = Recipe.of(stack, part)
        self._log = folder / f"{part}-own-clock.log"
        stack.stop(part)
        self._start()
        try:
            try:
                self._wait_until_it_works()
            except AssertionError:
                # Seen once of the API: it said nothing for a minute. The fault is the jump, so it is started anew.
                end(self._process)
                self._start()
                self._wait_until_it_works()
        except BaseException:
            self.give_back()
            raise

    def jump(self, seconds: int) -> None:
        self._offset.write_text(f"{seconds:+d}\n")

    def give_back(self) -> None:
        """Ends it, and lets the stack run the part again, with the machine's clock."""
        end(self._process)
        self._stack.start(self._part)

    def _start(self) -> None:
        settings = {
            "LD_PRELOAD": str(library()),
            "FAKETIME_TIMESTAMP_FILE": str(self._offset),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }
        (self._recipe.folder / "beat.pid").unlink(missing_ok=True)  # beat's own, if it could not remove it
        self._process = self._recipe.start(self._log, settings=settings)

    def _wait_until_it_works(self) -> None:
        if self._part == "api":
            until(self._answers, "the API with a clock of its own answers", START_SECONDS, self._log.read_text)
        else:
            time.sleep(SETTLE_SECONDS)  # Celery's parts have nothing to ask; they go on when they are ready
        code = self._process.poll()
        assert code is None, f"{self._part} with a clock of its own ended with {code}"

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self._stack.api_url}/healthz", timeout=10).status_code == 200
        except httpx.TransportError:
            return False
