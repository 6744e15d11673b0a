"""The parts of the stack, in the order they need each other: what to run, with which environment, when it is ready."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import httpx

from cli.stack import postgres, ray_head, valkey
from cli.stack.home import Home, StackConfig
from cli.stack.ports import LOOPBACK

RECOVERY_SECONDS = 300.0
"""PostgreSQL and Valkey may have to repair a large store after a crash."""
CELERY_PROCESSES = 3
"""Webhooks whose receivers hang and a removal of large runs may each hold one for a while; one is always left for
launches, cancels and reconcile. Each of the two is done by one process at a time."""
LOCAL_USER = "local"


@dataclass(frozen=True, kw_only=True)
class Part:
    """One child of the supervisor."""

    name: str
    command: Callable[[], Sequence[str]]
    environment: Mapping[str, str]
    needs: tuple[str, ...] = ()
    """Parts that must be ready (one-shot parts: done) before the first start of this one."""
    prepare: Callable[[], None] = lambda: None
    """Before every start."""
    check_ready: Callable[[], Awaitable[None]] | None = None
    """Raises while the part is not ready. Off (None): ready as soon as it runs."""
    ready_seconds: float = 60.0
    once: bool = False
    """Runs to its end once, and the end is what others wait for."""
    stop_signal: signal.Signals = signal.SIGTERM
    stop_seconds: float = 5.0
    """From the stop signal to SIGKILL."""
    stop_rank: int = 0
    """Parts with a lower rank are stopped first, those of one rank at the same time."""
    death_signal: signal.Signals = signal.SIGKILL
    """What the kernel sends it when the supervisor dies."""
    shown: Callable[[str], bool] = field(default=lambda line: True)
    """Which lines go to the terminal; its log file has all."""


@dataclass(frozen=True)
class Stack:
    """What the parts are made from."""

    home: Home
    config: StackConfig
    slots: int
    dashboard: Path | None

    @property
    def api_url(self) -> str:
        return f"http://{LOOPBACK}:{self.config.ports['api']}"

    @property
    def data_roots(self) -> list[str]:
        """Folders under which image folders may lie: what the caller set, else one of our own."""
        given = os.environ.get("BASIN_DATA_ROOTS")
        return [str(self.home.data)] if given is None else [root for root in given.split(":") if root]

    @property
    def external(self) -> dict[str, str]:
        """Parts that the environment says run elsewhere, with their addresses."""
        names = {"postgres": "BASIN_DATABASE_URL", "valkey": "BASIN_BROKER_URL", "ray": "BASIN_RAY_ADDRESS"}
        return {part: value for part, name in names.items() if (value := os.environ.get(name))}


def base_environment() -> dict[str, str]:
    """The caller's, with loopback kept out of any proxy and output unbuffered."""
    exempt = [host for host in os.environ.get("NO_PROXY", "").split(",") if host] + [LOOPBACK, "localhost"]
    hosts = ",".join(dict.fromkeys(exempt))
    return {**os.environ, "PYTHONUNBUFFERED": "1", "NO_PROXY": hosts, "no_proxy": hosts}


def control_environment(stack: Stack) -> dict[str, str]:
    """Of API, Celery, beat, migration: the settings in `api/settings.py`. What the caller set for a setting stays."""
    config, home, external = stack.config, stack.home, stack.external
    made = {
        "BASIN_HOME": str(home.folder),
        "BASIN_DATABASE_URL": postgres.url(config.ports["postgres"], config.postgres_password),
        "BASIN_BROKER_URL": valkey.url(config.ports["valkey"], config.valkey_password),
        "BASIN_RAY_ADDRESS": ray_head.url(config.ports["ray_jobs"]),
        "BASIN_STORAGE": str(home.storage),
        "BASIN_SPOOL": str(home.spool),
        "BASIN_DATA_ROOTS": ":".join(stack.data_roots),
        "BASIN_SECRET": config.secret,
        "BASIN_LOOPBACK": "true",
        "BASIN_TRAINER_PYTHON": ray_head.python(),
    }
    if "ray" not in external:
        made["BASIN_RAY_TOKEN"] = home.ray_token()
    if stack.dashboard is not None:
        made["BASIN_DASHBOARD"] = str(stack.dashboard)
    return {**made, **base_environment(), "BASIN_HOME": str(home.folder), "BASIN_API_URL": stack.api_url}


def parts_of(stack: Stack, client: httpx.AsyncClient) -> list[Part]:
    """All parts this stack runs itself."""
    own = [_valkey(stack), _postgres(stack), _ray(stack, client), *_control_plane(stack, client)]
    kept = [part for part in own if part.name not in stack.external]
    names = {part.name for part in kept}
    # What runs elsewhere is not waited for.
    return [replace(part, needs=tuple(name for name in part.needs if name in names)) for part in kept]


def _valkey(stack: Stack) -> Part:
    folder, port, password = stack.home.valkey, stack.config.ports["valkey"], stack.config.valkey_password
    return Part(
        name="valkey",
        command=lambda: valkey.command(folder),
        environment=base_environment(),
        prepare=lambda: valkey.prepare(folder, port, password),
        check_ready=lambda: valkey.check_ready(port, password),
        ready_seconds=RECOVERY_SECONDS,
        stop_rank=2,
        # Its banner and its advice about the kernel's overcommit setting help nobody here.
        shown=lambda line: "#" in line and "vm.overcommit_memory" not in line,
    )


def _postgres(stack: Stack) -> Part:
    data, port, password = stack.home.postgres, stack.config.ports["postgres"], stack.config.postgres_password
    return Part(
        name="postgres",
        command=lambda: postgres.command(data, port),
        environment=postgres.environment(),
        prepare=lambda: postgres.prepare(data, password),
        check_ready=lambda: postgres.check_ready(port, password),
        ready_seconds=RECOVERY_SECONDS,
        stop_signal=postgres.DEATH_SIGNAL,
        stop_seconds=15.0,
        stop_rank=2,
        death_signal=postgres.DEATH_SIGNAL,
        shown=lambda line: not line.startswith("LOG:") and "is starting up" not in line,
    )


def _ray(stack: Stack, client: httpx.AsyncClient) -> Part:
    folder, ports = stack.config.short_folder / "ray", stack.config.ports
    address, token = ray_head.url(ports["ray_jobs"]), stack.home.ray_token()
    grace = float(os.environ.get("BASIN_CANCEL_GRACE_SECONDS", "120"))
    return Part(
        name="ray",
        command=lambda: ray_head.command(
            folder=folder,
            slots=stack.slots,
            gcs_port=ports["ray_gcs"],
            jobs_port=ports["ray_jobs"],
            agent_port=ports["ray_agent"],
        ),
        environment=ray_head.environment(base_environment(), stack.home.ray_token_file, stop_seconds=grace),
        prepare=lambda: ray_head.prepare(folder),
        check_ready=lambda: ray_head.check_ready(client, address, token),
        ready_seconds=180.0,
        # Ray needs about ten seconds to end itself and has nothing to save.
        stop_seconds=2.0,
        shown=lambda line: any(word in line for word in ray_head.SHOWN_WORDS),
    )


def _control_plane(stack: Stack, client: httpx.AsyncClient) -> list[Part]:
    environment = control_environment(stack)
    run, python, port = stack.home.run, sys.executable, str(stack.config.ports["api"])
    celery = [python, "-W", "ignore:You're running the worker with superuser", "-m", "celery", "-q", "-A", "worker.app"]
    return [
        Part(
            name="migrate",
            command=lambda: [python, "-m", "api.db.migrate"],
            environment=environment,
            needs=("postgres",),
            once=True,
        ),
        Part(
            name="token",
            command=lambda: [
                python, "-m", "api.runs.tokens", "ensure", "--user", LOCAL_USER, "--role", "admin",
                "--token-file", str(stack.home.token_file),
            ],
            environment=environment,
            needs=("migrate",),
            once=True,
        ),
        Part(
            name="api",
            command=lambda: [
                python, "-m", "uvicorn", "--factory", "api.app:create_app_from_environment",
                "--host", LOOPBACK, "--port", port, "--timeout-graceful-shutdown", "3", "--no-access-log",
            ],
            environment=environment,
            needs=("valkey", "migrate"),
            check_ready=lambda: _answers(client, f"{stack.api_url}/healthz"),
            stop_rank=1,
        ),
        Part(
            name="celery",
            command=lambda: [*celery, "worker", f"--concurrency={CELERY_PROCESSES}", "--without-gossip",
                             "--without-mingle", "--loglevel=INFO"],
            environment=environment,
            needs=("valkey", "migrate"),
            # Every two seconds twice "Task reconcile received, succeeded".
            shown=lambda line: "Task reconcile[" not in line or "ERROR" in line,
        ),
        Part(
            name="beat",
            command=lambda: [*celery, "beat", f"--pidfile={run / 'beat.pid'}", "--loglevel=INFO"],
            environment=environment,
            # Ray first: a reconcile that meets a Ray in the middle of its start waits ten seconds for an answer.
            needs=("valkey", "migrate", "ray"),
            shown=lambda line: "Sending due task" not in line,
            # A killed beat leaves its pid file, and the pid may have been given to another process.
            prepare=lambda: (run / "beat.pid").unlink(missing_ok=True),
        ),
    ]  # fmt: skip


async def _answers(client: httpx.AsyncClient, address: str) -> None:
    (await client.get(address)).raise_for_status()
