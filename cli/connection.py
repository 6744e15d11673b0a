"""Which API the command line talks to: options, then BASIN_API_URL and BASIN_TOKEN, then the stack on BASIN_HOME."""

from __future__ import annotations

import os

from cli.client import READ_SECONDS, Client
from cli.failure import ExitCode, Failure
from cli.stack.home import home_from_environment
from cli.stack.ports import LOOPBACK


def connect(url: str | None = None, token: str | None = None, read_seconds: float = READ_SECONDS) -> Client:
    """Raises Failure (exit code 3) where address or token are nowhere to be found."""
    home = home_from_environment()
    url = url or os.environ.get("BASIN_API_URL")
    if not url:
        config = home.read_config()
        if config is None:
            raise Failure(
                f"no stack was ever started on {home.folder}: start one with `basin up`, or give --url and --token",
                ExitCode.unreachable,
            )
        url = f"http://{LOOPBACK}:{config.ports['api']}"
    token = token or os.environ.get("BASIN_TOKEN") or home.token()
    if not token:
        raise Failure(
            f"there is no token for {url}: give --token, set BASIN_TOKEN, or start the stack with `basin up`",
            ExitCode.unreachable,
        )
    return Client(url, token, read_seconds=read_seconds)
