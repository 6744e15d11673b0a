"""Settings, from environment variables with the prefix BASIN_. Entry points build them once and pass them on.

Nothing reads the environment at import. Every setting stands here with its unit; what nobody needs to turn is a
constant beside its use.
"""

from __future__ import annotations

import os
import re
import sys
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

DEVELOPMENT_SECRET = "basin-development-secret-that-everybody-knows"
HOST_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*")
WEAK_PASSWORDS = frozenset({"basin", "postgres", "password", "changeme", "admin", "secret"})


class Settings(BaseSettings):
    """All of Basin's settings. Building it raises pydantic's ValidationError; entry points use `settings_or_exit`."""

    model_config = SettingsConfigDict(env_prefix="BASIN_", extra="ignore", frozen=True, use_attribute_docstrings=True)

    database_url: str
    """PostgreSQL, e.g. "postgresql+psycopg://basin:...@127.0.0.1:5432/basin"."""
    broker_url: str
    """Valkey or Redis: Celery's broker and the live channel, e.g. "redis://127.0.0.1:6379/0"."""
    storage: Path
    """Storage root, an absolute folder that the API, the Celery worker and every trainer see."""
    data_roots: Annotated[tuple[Path, ...], NoDecode] = ()
    """Folders under which image data may be read, absolute, with colons between them (`os.pathsep`); trainers see them
    at the same paths. Off (empty): only data that comes with Basin."""
    data_uploads: Literal["off", "admins", "members"] = "members"
    """Who may upload data sets to the first data root: "off", "admins", or "members" (and admins)."""
    data_uploads_leave_gib: float = Field(default=10, ge=0)
    """Uploads are refused that would leave less of that root's disk, in GiB, >= 0."""
    secret: SecretStr = SecretStr(DEVELOPMENT_SECRET)
    """Key of launch codes, attempt tokens and login cookies, at least 32 characters. Its default is refused outside
    loopback."""
    loopback: bool = False
    """True: everything listens on 127.0.0.1 for one machine, so cookies need no TLS and default secrets are allowed."""

    api_url: str = "http://127.0.0.1:8000"
    """What the command line uses to reach the API, and trainers where `trainer_api_url` is off."""
    trainer_api_url: str | None = None
    """What trainers use instead, where they reach the API by another address. Off (null): `api_url`."""
    ray_address: str = "http://127.0.0.1:8265"
    """Ray's dashboard with the job API, over HTTP."""
    ray_token: SecretStr | None = None
    """Bearer token of Ray. Off (null): Ray has no authentication."""
    spool: Path | None = None
    """Node-local folder for unsent reports. Off (null): the system's temporary folder."""
    trainer_python: str = sys.executable
    """Python of the trainer's environment on the training nodes."""
    dashboard: Path | None = None
    """Folder of the built dashboard. Off (null): the API serves no pages."""
    webhook_private_hosts: Annotated[tuple[str, ...], NoDecode] = ()
    """Hosts, addresses and networks that webhooks may reach though they are not public, and without TLS, with commas
    between them, e.g. "hooks.lab,10.2.0.0/16". Off (empty): public addresses only, by https."""

    log_format: Literal["text", "json"] = "text"
    """How API, Celery worker, beat and trainers log: lines for a person, or one JSON object a line."""
    metrics_token: SecretStr | None = Field(default=None, min_length=16)
    """Bearer token of `/metrics`, at least 16 characters. Off (null): on loopback it answers callers from private
    addresses who do not come through a proxy, anywhere else nobody."""
    postgres_bin: Path | None = None
    """Folder of pg_dump, pg_restore and psql for backups. Off (null): those on the path, else the local stack's."""

    lease_interval_seconds: float = Field(default=10, gt=0)
    """How often a trainer renews its lease, > 0."""
    lease_timeout_seconds: float = Field(default=60, gt=0)
    """Age at which a lease is expired, in seconds the API was serving; longer than two intervals."""
    reconcile_seconds: float = Field(default=2, gt=0)
    """Time between two reconciliations, > 0."""
    cancel_grace_seconds: float = Field(default=120, ge=0)
    """Time a trainer gets to save after a cancel, a pause, or the end of its time, >= 0."""
    silent_stop_seconds: float = Field(default=600, ge=0)
    """How long a run may be silent under a running Ray job until the job is stopped, >= 0."""
    launch_timeout_seconds: float = Field(default=180, gt=0)
    """From launch to claim; after that the attempt is given up. > 0."""
    max_failures: int = Field(default=5, ge=0)
    """Failed attempts since the last newer checkpoint that a run survives, >= 0."""
    deleted_kept_hours: float = Field(default=24, ge=0)
    """How long a deleted run can be restored; then its files and rows are removed. >= 0."""
    logs_kept_days: float | None = Field(default=None, ge=0)
    """How long after its end a run's log files are kept, >= 0. Off (null), here and below: for ever."""
    archived_points_kept_days: float | None = Field(default=None, ge=0)
    """How long after it was archived a run's metric points are kept, >= 0; its latest and best numbers stay."""
    events_kept_days: float | None = Field(default=None, ge=0)
    """How long after its end the rows of a run's timeline are kept, >= 0; its moves from status to status stay."""
    webhook_log_kept_days: float | None = Field(default=30, ge=1)
    """How long a webhook's log shows a message, >= 1."""
    orphans_kept_days: float | None = Field(default=None, ge=1)
    """How long run folders stay on the storage that the database does not know, >= 1. Leave it off while a restored
    database may be older than the storage."""
    preemption: bool = False
    """True: a run of lower priority may be paused, with a checkpoint, for one of higher priority that waits."""
    share_half_life_seconds: float = Field(default=86_400, gt=0)
    """Fair share: what a user had so long ago counts half as much as what they have now, > 0."""
    default_max_workers: int | None = Field(default=None, ge=0)
    """Workers at once of a user without such a quota of their own, >= 0. Off (null)."""
    default_max_queued_runs: int | None = Field(default=None, ge=0)
    """Queued runs of a user without such a quota of their own, >= 0. Off (null)."""
    default_gpu_hours_per_month: float | None = Field(default=None, ge=0)
    """GPU-hours in a calendar month (UTC) of a user without such a quota of their own, >= 0. Off (null)."""
    join_timeout_seconds: float = Field(default=120, gt=0)
    """Until all workers of a group have joined, > 0."""
    hang_timeout_seconds: float = Field(default=300, gt=0)
    """Time without a step after which a worker group is called hung, > 0."""

    @field_validator("database_url")
    @classmethod
    def _speaks_postgresql(cls, url: str) -> str:
        if not url.startswith("postgresql+psycopg://"):
            raise ValueError("must start with postgresql+psycopg:// (one dialect everywhere)")
        return url

    @field_validator("broker_url")
    @classmethod
    def _speaks_redis(cls, url: str) -> str:
        if urlsplit(url).scheme not in ("redis", "rediss"):
            raise ValueError("must start with redis:// or rediss:// (Valkey speaks the same protocol)")
        return url

    @field_validator("storage")
    @classmethod
    def _is_absolute(cls, folder: Path) -> Path:
        if not folder.is_absolute():
            raise ValueError("must be an absolute path, since processes with other working folders read it")
        return folder

    @field_validator("data_roots", mode="before")
    @classmethod
    def _split(cls, folders: Any) -> Any:
        return [part for part in folders.split(os.pathsep) if part] if isinstance(folders, str) else folders

    @field_validator("data_roots")
    @classmethod
    def _are_absolute(cls, folders: tuple[Path, ...]) -> tuple[Path, ...]:
        for folder in folders:
            if not folder.is_absolute() or ".." in folder.parts or folder == Path(folder.anchor):
                raise ValueError(
                    f"{str(folder)!r} must be the absolute path of a folder below /, without `..`: mend it, and put"
                    f" {os.pathsep!r} between several folders"
                )
        return folders

    @field_validator("webhook_private_hosts", mode="before")
    @classmethod
    def _split_hosts(cls, hosts: Any) -> Any:
        return [part.strip() for part in hosts.split(",") if part.strip()] if isinstance(hosts, str) else hosts

    @field_validator("webhook_private_hosts")
    @classmethod
    def _are_hosts(cls, hosts: tuple[str, ...]) -> tuple[str, ...]:
        for host in hosts:
            try:
                ip_network(host, strict=False)
            except ValueError:
                if not HOST_NAME.fullmatch(host) or host.rpartition(".")[2].isdigit():
                    raise ValueError(
                        f"{host!r} must be a host name, an address or a network such as 10.2.0.0/16: mend it, without"
                        " scheme, port or wildcard"
                    ) from None
        return hosts

    @field_validator("secret")
    @classmethod
    def _is_long(cls, secret: SecretStr) -> SecretStr:
        if len(secret.get_secret_value()) < 32:
            raise ValueError("must have at least 32 characters; make one with `openssl rand -hex 32`")
        return secret

    @model_validator(mode="after")
    def _no_default_secret_outside_loopback(self) -> Self:
        if self.lease_timeout_seconds <= 2 * self.lease_interval_seconds:
            raise ValueError(
                f"BASIN_LEASE_TIMEOUT_SECONDS {self.lease_timeout_seconds:g} must be more than twice"
                f" BASIN_LEASE_INTERVAL_SECONDS {self.lease_interval_seconds:g}: raise it or renew more often"
            )
        if self.loopback:
            return self
        if self.secret.get_secret_value() == DEVELOPMENT_SECRET:
            raise ValueError(
                "BASIN_SECRET must be set outside loopback: its default is public; make one with `openssl rand -hex 32`"
            )
        password = urlsplit(self.database_url).password
        if password is not None and password.lower() in WEAK_PASSWORDS:
            raise ValueError(
                "BASIN_DATABASE_URL must not hold a default password outside loopback: choose one of your own"
            )
        return self


def settings_or_exit() -> Settings:
    """Settings from the environment; what is wrong is said in one sentence per variable, without a traceback."""
    try:
        return Settings()
    except ValidationError as error:
        raise SystemExit("\n".join(_sentence(item["loc"], item["msg"]) for item in error.errors())) from None


def _sentence(loc: tuple[int | str, ...], message: str) -> str:
    """Never the value: it may be a secret."""
    message = message.removeprefix("Value error, ")
    if not loc:
        return message
    return f"BASIN_{str(loc[0]).upper()}: {message}"
