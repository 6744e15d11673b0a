"""The system's Chromium under Playwright, for the story and the screenshots; what its console says is kept."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from playwright.sync_api import Browser, BrowserType, ConsoleMessage, Error, Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
NOT_FOUND = (
    "No Chromium was found: install it (on Debian and Ubuntu: apt install chromium), or set BASIN_CHROMIUM to its path."
)
CLOSED_ON_US = (
    "ERR_CONNECTION_REFUSED",
    "ERR_CONNECTION_RESET",
    "ERR_INCOMPLETE_CHUNKED_ENCODING",
    "ERR_EMPTY_RESPONSE",
)
"""What Chromium itself writes for each request that meets no server; no page can keep it from that."""


def find_chromium() -> str | None:
    """BASIN_CHROMIUM, else what is on the PATH; None where there is none."""
    chosen = os.environ.get("BASIN_CHROMIUM")
    return chosen or next((path for name in NAMES if (path := shutil.which(name))), None)


@contextmanager
def chromium() -> Iterator[Browser]:
    """A headless browser. Its own sandbox is left out where it cannot work: as root, or without user namespaces."""
    path = find_chromium()
    assert path is not None, NOT_FOUND
    with sync_playwright() as playwright:
        browser = _launched(playwright.chromium, path)
        try:
            yield browser
        finally:
            browser.close()


def _launched(kind: BrowserType, path: str) -> Browser:
    # /dev/shm is small in containers, and pages are large.
    arguments = ["--disable-dev-shm-usage", "--font-render-hinting=none"]
    if os.geteuid() != 0:
        try:
            return kind.launch(executable_path=path, chromium_sandbox=True, args=arguments)
        except Error:
            pass
    return kind.launch(executable_path=path, chromium_sandbox=False, args=arguments)


@dataclass
class Heard:
    """Errors and warnings of a page: its console's and its uncaught exceptions."""

    lines: list[str] = field(default_factory=list)
    api_is_away: bool = False
    """While it is, requests that find no server are expected; everything else counts."""

    def listen(self, page: Page) -> None:
        page.on("console", self._said)
        page.on("pageerror", lambda error: self.lines.append(f"uncaught: {error}"))

    def _said(self, message: ConsoleMessage) -> None:
        if message.type not in ("error", "warning"):
            return
        if self.api_is_away and any(word in message.text for word in CLOSED_ON_US):
            return
        address = message.location.get("url", "")
        if "status of 422" in message.text and "dry_run=true" in address:
            return  # Chromium's own line for the answer that a spec under edit is refused, which the page shows
        self.lines.append(f"{message.type}: {message.text} ({address})")
