"""One deployment for all tests of this folder, which live through docs/deployment.md in the order they stand."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.deploy import stand_ins
from tests.deploy.site import Site
from tests.e2e.browser import NOT_FOUND, chromium, find_chromium

NO_ENGINE = (
    "These tests need a Docker engine with the Compose and Buildx plugins (on Debian 13: apt install docker.io"
    " docker-compose docker-buildx) that `docker info`, `docker compose version` and `docker buildx version` reach:"
    " start it, or set DOCKER_HOST."
)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Not up yet. BASIN_DEPLOY_KEEP=1 leaves it running afterwards, to be looked at."""
    for command in (["docker", "info"], ["docker", "compose", "version"], ["docker", "buildx", "version"]):
        try:
            subprocess.run(command, capture_output=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.fail(NO_ENGINE)
    folder = tmp_path_factory.mktemp("deploy")
    folder.chmod(0o755)
    sources = stand_ins.Sources.of_this_machine(folder)
    site = Site(folder, stand_ins.make(sources), sources)
    site.clear()  # what a run left that was broken off
    yield site
    if os.environ.get("BASIN_DEPLOY_KEEP") != "1":
        site.clear()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if find_chromium() is None:
        pytest.fail(NOT_FOUND)
    with chromium() as opened:
        yield opened
