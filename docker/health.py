"""What the containers' health checks ask: `python health.py api|ray-head|ray-worker|ready`.

Prints what is wrong and exits 1; the engine keeps the last answers (`docker inspect`), and `docker compose ps` shows
which service it is. Standard library only, since it runs every few seconds.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

SECONDS = 8.0
API = "http://127.0.0.1:8000"
OF_THE_API = ("database", "migrations", "broker")
"""Of /readyz: what the API itself needs. A Ray that is away does not make the API unhealthy."""
JOBS_PORT = 8265


class Unhealthy(Exception):
    """Its text says what is wrong."""


def api() -> str:
    """The API answers, and what it stands on works."""
    return _ready(API, OF_THE_API)


def ready() -> str:
    """Runs can be taken and trained: all that /readyz looks at works."""
    answer = _get(f"{API}/readyz")
    bad = [f"{check['name']}: {check['detail']}" for check in answer["checks"] if not check["ok"]]
    if bad or not answer["ready"]:
        raise Unhealthy("; ".join(bad))
    return "ready"


def ray_head() -> str:
    """The head answers with our token and has a living node: itself."""
    return f"{len(_living(_own_address()))} nodes live"


def ray_worker() -> str:
    """The head knows the node on one of this container's addresses, and it lives."""
    head = (os.environ.get("BASIN_RAY_HEAD") or "ray-head:6379").rpartition(":")[0]
    known = {str(node.get("node_ip")) for node in _living(head)}
    ours = _address_towards(head)
    if ours not in known:
        raise Unhealthy(f"the head {head} does not list {ours} among its living nodes {sorted(known)}")
    return f"{ours} lives"


def _ready(address: str, names: tuple[str, ...]) -> str:
    checks = {check["name"]: check for check in _get(f"{address}/readyz")["checks"]}
    bad = [f"{name}: {checks[name]['detail'] if name in checks else 'not looked at'}" for name in names
           if not checks.get(name, {}).get("ok")]  # fmt: skip
    if bad:
        raise Unhealthy("; ".join(bad))
    return ", ".join(f"{name} {checks[name]['detail']}" for name in names)


def _living(head: str) -> list[dict[str, Any]]:
    token = os.environ.get("RAY_AUTH_TOKEN", "")
    answer = _get(f"http://{head}:{JOBS_PORT}/api/v0/nodes?limit=1000", {"Authorization": f"Bearer {token}"})
    nodes = answer["data"]["result"]["result"] if answer.get("result") else []
    living = [node for node in nodes if node.get("state") == "ALIVE"]
    if not living:
        raise Unhealthy(f"Ray's head at {head} lists no living node")
    return living


def _get(address: str, headers: dict[str, str] | None = None) -> dict[str, Any]:
    # No proxy of the environment stands between containers.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(urllib.request.Request(address, headers=headers or {}), timeout=SECONDS) as answer:
            body = answer.read()
    except urllib.error.HTTPError as error:
        if error.code != 503:  # Which /readyz answers when something is not ready, and says what.
            raise Unhealthy(f"{address} answered {error.code}") from None
        body = error.read()
    except OSError as error:
        raise Unhealthy(f"{address} did not answer: {error}") from None
    try:
        found = json.loads(body)
    except ValueError:
        raise Unhealthy(f"{address} answered without JSON") from None
    if not isinstance(found, dict):
        raise Unhealthy(f"{address} answered {type(found).__name__}, not an object")
    return found


def _own_address() -> str:
    return socket.gethostbyname(socket.gethostname())


def _address_towards(host: str) -> str:
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((host, JOBS_PORT))
            return str(probe.getsockname()[0])
    except OSError as error:
        raise Unhealthy(f"the head {host} was not found: {error}") from None


CHECKS: dict[str, Callable[[], str]] = {
    "api": api, "ready": ready, "ray-head": ray_head, "ray-worker": ray_worker,
}  # fmt: skip


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or arguments[0] not in CHECKS:
        sys.stderr.write(f"usage: python health.py {'|'.join(CHECKS)}\n")
        return 2
    try:
        print(CHECKS[arguments[0]]())
    except Unhealthy as error:
        print(error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
