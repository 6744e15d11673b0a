"""Free ports on the loopback address, chosen once and kept.

They lie below the range that the system hands to outgoing connections (from 32768 on Linux), so that a kept port is
still free at the next start.
"""

from __future__ import annotations

import random
import socket
from collections.abc import Iterable

LOWEST, HIGHEST = 20_000, 31_999
LOOPBACK = "127.0.0.1"


def is_free(port: int) -> bool:
    """Whether a server could listen on the port now; a port left in TIME_WAIT counts as free."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def choose_ports(names: Iterable[str], avoid: Iterable[int] = ()) -> dict[str, int]:
    """A free port for each name, all different."""
    taken = set(avoid)
    chosen: dict[str, int] = {}
    for name in names:
        port = next(
            port for port in iter(lambda: random.randint(LOWEST, HIGHEST), None) if port not in taken and is_free(port)
        )
        taken.add(port)
        chosen[name] = port
    return chosen
