"""A database of its own for every test, copied from one that the migrations made, and the API on a port under it."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import uvicorn
from sqlalchemy import Engine, create_engine, make_url, text

from api.app import create_app
from api.backup.making import make_backup
from api.db.engine import make_engine
from api.db.migrate import migrate
from api.runs.tokens import ensure
from api.settings import Settings
from tests.integration.api.backed_up import Place, live_run, silent
from tests.integration.api.hooked import Hooked, hooked
from tests.integration.api.receiver import Receiver
from tests.integration.api.stack import TOKENS, Api
from tests.integration.services import free_port, postgres_server, valkey_server


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with postgres_server(tmp_path_factory.mktemp("postgres")) as url:
        yield url


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with valkey_server(tmp_path_factory.mktemp("valkey")) as url:
        yield url


@pytest.fixture(scope="session")
def admin_engine(postgres: str) -> Iterator[Engine]:
    engine = create_engine(postgres, isolation_level="AUTOCOMMIT")
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def template(postgres: str, admin_engine: Engine) -> str:
    """A database at head with four people."""
    with admin_engine.connect() as connection:
        connection.execute(text("CREATE DATABASE template_basin"))
    engine = create_engine(make_url(postgres).set(database="template_basin"))
    migrate(engine)
    for user, (role, token) in TOKENS.items():
        ensure(engine, user=user, role=role, token=token)
    engine.dispose()
    return "template_basin"


@pytest.fixture
def database_url(postgres: str, admin_engine: Engine, template: str) -> Iterator[str]:
    name = f"test_{secrets.token_hex(6)}"
    with admin_engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {template}"))
    yield make_url(postgres).set(database=name).render_as_string(hide_password=False)
    with admin_engine.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
def empty_database_url(postgres: str, admin_engine: Engine) -> Iterator[str]:
    name = f"empty_{secrets.token_hex(6)}"
    with admin_engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield make_url(postgres).set(database=name).render_as_string(hide_password=False)
    with admin_engine.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))


@pytest.fixture
def settings(database_url: str, valkey: str, tmp_path: Path) -> Settings:
    dashboard = tmp_path / "dashboard"
    (dashboard / "assets").mkdir(parents=True)
    (dashboard / "index.html").write_text("<!doctype html><title>Basin</title>")
    (dashboard / "assets" / "index-abc123.js").write_text("console.log('basin')")
    return Settings(
        database_url=database_url,
        broker_url=valkey,
        storage=tmp_path / "storage",
        secret="a-secret-of-the-tests-with-many-characters",
        loopback=True,
        dashboard=dashboard,
        webhook_private_hosts=("127.0.0.1",),
    )


@pytest.fixture
def engine(settings: Settings) -> Iterator[Engine]:
    engine = make_engine(settings, application="basin-test")
    yield engine
    engine.dispose()


@pytest.fixture
def api(settings: Settings, engine: Engine) -> Iterator[Api]:
    with serving(settings, engine) as api:
        yield api


@pytest.fixture
def hooks(api: Api) -> Iterator[Hooked]:
    with hooked(api) as made:
        yield made


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as made:
        yield made


class serving:
    """The API under uvicorn in a thread, on a free port, with real sockets."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self._settings, self._engine = settings, engine
        port = free_port()
        config = uvicorn.Config(
            create_app(settings), host="127.0.0.1", port=port, log_level="warning", timeout_graceful_shutdown=1
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._url = f"http://127.0.0.1:{port}"

    def __enter__(self) -> Api:
        self._thread.start()
        give_up_at = time.monotonic() + 120
        while not self._server.started:
            assert time.monotonic() < give_up_at, "the API did not start"
            time.sleep(0.01)
        # One id for all, so that answers can be compared.
        self._http = httpx.Client(base_url=self._url, timeout=60, headers={"X-Request-ID": "of-a-test"})
        return Api(http=self._http, url=self._url, settings=self._settings, engine=self._engine)

    def __exit__(self, *_: object) -> None:
        self._http.close()
        self._server.should_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive(), "the API did not stop"


@pytest.fixture
def original(settings: Settings, engine: Engine) -> Place:
    """Two runs, and nobody connected any more."""
    with serving(settings, engine) as api:
        live_run(api)
        live_run(api, step=60)
    return Place(settings, engine)


@pytest.fixture
def elsewhere(settings: Settings, empty_database_url: str, tmp_path: Path) -> Iterator[Place]:
    """A database without tables and a storage without files."""
    new = settings.model_copy(update={"database_url": empty_database_url, "storage": tmp_path / "new-storage"})
    engine = create_engine(empty_database_url)
    yield Place(new, engine)
    engine.dispose()


@pytest.fixture
def saved(original: Place, tmp_path: Path) -> Path:
    folder = tmp_path / "backups" / "monday"
    make_backup(original.settings, folder, silent)
    return folder
