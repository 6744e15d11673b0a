"""A stack and a browser for stories that a person lives through in the dashboard."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.e2e.browser import NOT_FOUND, chromium, find_chromium
from tests.integration.running_stack import RunningStack


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Skips without a Chromium; with BASIN_REQUIRE_BROWSER=1, as continuous integration sets it, fails instead."""
    if find_chromium() is None:
        if os.environ.get("BASIN_REQUIRE_BROWSER"):
            pytest.fail(NOT_FOUND)
        pytest.skip(NOT_FOUND)
    expect.set_options(timeout=30_000)  # five seconds are too few where other tests have the processors
    with chromium() as opened:
        yield opened


@pytest.fixture(scope="session")
def stack(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """Of its own, since the story stops its API; not started where there is no browser."""
    running = RunningStack(tmp_path_factory.mktemp("e2e") / "home", arguments=("--slots=4",))
    try:
        yield running.up()
    finally:
        running.close()
