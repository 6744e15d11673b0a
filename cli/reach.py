"""What of an installation can be reached from where the command line runs: the API should be, its services never.

Ray runs any command it is sent, whoever writes to the broker starts tasks, and the database holds everything. So on
this machine's own outer addresses and at the API's host nobody may answer at their ports.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

import psutil

from cli.stack.home import StackConfig
from trainer.contract.findings import Found, failed, ok

USUAL_PORTS = {"PostgreSQL": 5432, "Valkey": 6379, "Ray's job API": 8265, "Ray's head": 6380, "Ray's clients": 10001}
CONNECT_SECONDS = 1.0
ANSWER_SECONDS = 2.0
MOST_READ = 4096
# What each of them says to a stranger: enough to tell it from another program at the same port.
POSTGRES_HELLO, POSTGRES_WORDS = bytes([0, 0, 0, 8, 4, 210, 22, 47]), (b"S", b"N")
VALKEY_HELLO, VALKEY_WORDS = b"PING\r\n", (b"+PONG", b"-NOAUTH", b"-DENIED")
RAY_HELLO, RAY_WORDS = b"GET /api/version HTTP/1.0\r\nHost: x\r\n\r\n", (b"HTTP/",)


def ports_of(config: StackConfig | None) -> dict[str, int]:
    """By what they are: the local stack's own, else the usual ones."""
    if config is None:
        return USUAL_PORTS
    names = {"PostgreSQL": "postgres", "Valkey": "valkey", "Ray's job API": "ray_jobs"}
    return {name: config.ports[key] for name, key in names.items()}


def outer_addresses(api_url: str) -> list[str]:
    """This machine's addresses that others may reach, and the API's host where that is elsewhere."""
    own = [each.address for card in psutil.net_if_addrs().values() for each in card if each.family == socket.AF_INET]
    found = [address for address in own if not ipaddress.ip_address(address).is_loopback]
    host = urlsplit(api_url).hostname
    if host is not None and not _is_loopback(host):
        found.append(host)
    return sorted(set(found))


def nothing_but_the_api(addresses: Iterable[str], ports: dict[str, int]) -> Found:
    """Asks every address at every port, a second each at most."""
    addresses = list(addresses)
    open_to_all = [
        f"{name} at {host}:{port}" for host in addresses for name, port in ports.items() if _is(name, host, port)
    ]
    if open_to_all:
        return failed(
            f"answers to others: {', '.join(open_to_all)}",
            needed="nothing but the API (or the proxy before it)",
            remedy="Take its port out of what is published, or let it listen on 127.0.0.1 only, and close the firewall",
        )
    return ok(f"at {', '.join(addresses) or 'no outer address'} no database, broker or Ray answers")


def _is(name: str, host: str, port: int) -> bool:
    """Whether that service answers there; another program at the port is none of ours."""
    hello, words = {
        "PostgreSQL": (POSTGRES_HELLO, POSTGRES_WORDS),
        "Valkey": (VALKEY_HELLO, VALKEY_WORDS),
        "Ray's job API": (RAY_HELLO, RAY_WORDS),
    }.get(name, (b"", ()))
    try:
        with socket.create_connection((host, port), CONNECT_SECONDS) as connection:
            if not hello:
                return True  # gRPC: it speaks only when it is spoken to properly.
            connection.settimeout(ANSWER_SECONDS)
            connection.sendall(hello)
            said = connection.recv(1024)
            while name == "Ray's job API" and len(said) < MOST_READ and (more := connection.recv(1024)):
                said += more  # It closes the connection after its answer.
    except OSError:
        return False
    return said.startswith(words) and (name != "Ray's job API" or _is_ray(said))


def _is_ray(said: bytes) -> bool:
    """Ray's dashboard says so, or refuses for want of a token."""
    return b"ray" in said.lower() or b" 401 " in said[:20] or b" 403 " in said[:20]


def _is_loopback(host: str) -> bool:
    return host == "localhost" or host.startswith("127.") or host == "::1"
