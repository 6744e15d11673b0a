"""PostgreSQL, Valkey and a Ray head of two slots for the whole folder; a database of its own for every test."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from pydantic import SecretStr

from api.db.engine import make_engine
from api.db.migrate import migrate
from api.settings import Settings
from tests.integration.services import free_port, postgres_server, valkey_server
from tests.integration.worker.stage import Stage, until
from worker.ray_jobs import RayJobs, RayUnreachable

SLOTS = 2


@dataclass(frozen=True, kw_only=True)
class RayServer:
    address: str
    token: str


@pytest.fixture(scope="session")
def ray_server() -> Iterator[RayServer]:
    folder = Path(tempfile.mkdtemp(prefix="bw-", dir="/tmp"))  # short: Unix sockets have 107 bytes
    token = folder / "token"
    token.write_text(secrets.token_hex(32))
    environment = {**os.environ, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    environment["RAY_USAGE_STATS_ENABLED"] = "0"
    environment["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # Ray then listens on loopback only
    dashboard = free_port()
    command = [
        str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", f"--num-cpus={SLOTS}",
        '--resources={"driver": 1000}', "--node-name=host-a", "--node-ip-address=127.0.0.1", f"--port={free_port()}",
        "--include-dashboard=true", "--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}",
        f"--dashboard-agent-listen-port={free_port()}", f"--dashboard-agent-grpc-port={free_port()}",
        f"--metrics-export-port={free_port()}", f"--runtime-env-agent-port={free_port()}", "--min-worker-port=0",
        "--max-worker-port=0", f"--temp-dir={folder / 'r'}",
        "--object-store-memory=100000000",
    ]  # fmt: skip
    with (folder / "head.log").open("wb") as log:
        head = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    server = RayServer(address=f"http://127.0.0.1:{dashboard}", token=token.read_text())

    def has_a_node() -> bool:
        assert head.poll() is None, (folder / "head.log").read_text()
        try:
            with RayJobs(server.address, server.token) as ray:
                return any(node.alive for node in ray.nodes())
        except RayUnreachable:
            return False

    try:
        until(has_a_node, what="Ray's head", within=120)
        yield server
    finally:
        head.terminate()  # it ends its children in order; what is left after that is killed
        with suppress(subprocess.TimeoutExpired):
            head.wait(10)
        with suppress(ProcessLookupError):
            os.killpg(head.pid, signal.SIGKILL)
        head.wait()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def broker_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with valkey_server(tmp_path_factory.mktemp("valkey")) as url:
        yield url


@pytest.fixture(scope="session")
def migrated_database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of a server's maintenance database; `template_basin` beside it is migrated to head."""
    with postgres_server(tmp_path_factory.mktemp("database")) as url:
        _administer(url, "CREATE DATABASE template_basin")
        engine = make_engine(_settings(_beside(url, "template_basin"), "redis://127.0.0.1:1/0", Path("/nowhere")))
        migrate(engine)
        engine.dispose()
        yield url


@pytest.fixture
def database_url(migrated_database: str) -> Iterator[str]:
    name = f"test_{secrets.token_hex(6)}"
    _administer(migrated_database, f"CREATE DATABASE {name} TEMPLATE template_basin")
    yield _beside(migrated_database, name)
    _administer(migrated_database, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def settings(database_url: str, broker_url: str, ray_server: RayServer, tmp_path: Path) -> Settings:
    storage = tmp_path / "storage"
    storage.mkdir()
    return _settings(database_url, broker_url, storage, ray=ray_server, trainer=tmp_path / "trainer.sh")


@pytest.fixture
def stage(settings: Settings) -> Iterator[Stage]:
    made = Stage(settings, Path(settings.trainer_python))
    yield made
    made.close()


def _settings(
    database_url: str, broker_url: str, storage: Path, *, ray: RayServer | None = None, trainer: Path | None = None
) -> Settings:
    return Settings(
        database_url=database_url,
        broker_url=broker_url,
        storage=storage,
        secret=SecretStr(secrets.token_hex(32)),
        loopback=True,
        ray_address=ray.address if ray else "http://127.0.0.1:1",
        ray_token=SecretStr(ray.token) if ray else None,
        trainer_python=str(trainer or sys.executable),
        reconcile_seconds=0.5,
        max_failures=2,
    )


def _beside(url: str, database: str) -> str:
    return url.rsplit("/", 1)[0] + f"/{database}"


def _administer(url: str, statement: str) -> None:
    with psycopg.connect(url.replace("postgresql+psycopg://", "postgresql://"), autocommit=True) as connection:
        connection.execute(statement.encode())
