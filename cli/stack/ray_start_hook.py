"""Run by `ray start` itself (RAY_START_HOOK) before it starts anything.

Ray always opens a client server on port 10001 of all interfaces, and its command line has no way to leave that out: a
second stack on the machine would find the port taken, and nobody here speaks that protocol.
"""

from __future__ import annotations

from typing import Any


def without_client_server(parameters: Any, head: bool) -> None:
    """`parameters` is Ray's `RayParams`."""
    parameters.ray_client_server_port = None
