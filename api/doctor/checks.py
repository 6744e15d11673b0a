"""What the control plane looks at where it runs: database, broker, storage, clock. No finding holds a secret."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import psycopg
import redis
from sqlalchemy import Engine, make_url, text
from sqlalchemy.orm import Session

from api.db.migrate import current_revision, head_revision
from api.runs.storage import PROOF_NAME, is_there
from api.settings import Settings
from trainer.contract import folders
from trainer.contract.clocks import judge_skew, now
from trainer.contract.findings import Check, Found, failed, ok, warning

CONNECT_SECONDS = 5
OLDEST_POSTGRES = 14
MEND_DATABASE = "Start PostgreSQL and look at its log, or mend BASIN_DATABASE_URL"
MEND_BROKER = "Start Valkey and look at its log, or mend BASIN_BROKER_URL"
MEND_STORAGE = "Mount the storage, or mend BASIN_STORAGE"
BROKER_MANUAL = "Set `maxmemory-policy noeviction` in Valkey's configuration and start it again"


def control_checks(settings: Settings, engine: Engine) -> list[Check]:
    looks = {
        MEND_DATABASE: {
            "database": lambda: database(engine),
            "database password": lambda: database_password(settings),
            "migrations": lambda: migrations(engine),
            "clock": lambda: database_clock(engine),
        },
        MEND_BROKER: {
            "broker": lambda: broker(settings),
            "broker password": lambda: broker_password(settings),
            "broker policy": lambda: broker_policy(settings),
            "broker persistence": lambda: broker_persistence(settings),
        },
        MEND_STORAGE: {
            "storage": lambda: own_storage(settings, engine),
            "storage disk": lambda: folders.free_disk(settings.storage, "the storage"),
        },
    }
    return [
        Check(name=name, look=look, if_it_breaks=remedy, if_it_hangs=remedy)
        for remedy, named in looks.items()
        for name, look in named.items()
    ]


def database(engine: Engine) -> Found:
    with engine.connect() as connection:
        major = int(connection.execute(text("SHOW server_version_num")).scalar_one()) // 10_000
    if major < OLDEST_POSTGRES:
        return failed(
            f"PostgreSQL {major} answers",
            needed=f"PostgreSQL {OLDEST_POSTGRES} or newer",
            remedy="Move to a newer server with `basin admin backup` and `restore`",
        )
    return ok(f"PostgreSQL {major} answers")


def database_password(settings: Settings) -> Found:
    """Whether somebody without the password is refused."""
    url = make_url(settings.database_url)
    try:
        psycopg.connect(
            host=url.host,
            port=url.port,
            user=url.username,
            dbname=url.database,
            # A password file of whoever started this must not stand in for it.
            passfile="/dev/null",
            password="",
            connect_timeout=CONNECT_SECONDS,
        ).close()
    except psycopg.OperationalError as error:
        if "password" in str(error) or "authentication" in str(error) or "no pg_hba.conf entry" in str(error):
            return ok("refuses without a password")
        raise
    return failed(
        "lets everybody in without a password",
        needed="a server that asks for one",
        remedy="Set `scram-sha-256` in pg_hba.conf in place of `trust`, and let it be read anew",
    )


def migrations(engine: Engine) -> Found:
    with engine.connect() as connection:
        current = current_revision(connection)
    if current == head_revision():
        return ok(f"at {current}")
    return failed(
        f"at {current}",
        needed=f"{head_revision()}, which this version works with",
        remedy="Run `python -m api.db.migrate` (in a deployment: the migration service)",
    )


def database_clock(engine: Engine) -> Found:
    with engine.connect() as connection:
        asked_at = now()
        theirs = float(connection.execute(text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one())
        answered_at = now()
    return judge_skew(theirs - (asked_at + answered_at) / 2, "the database's clock")


def broker(settings: Settings) -> Found:
    return ok(f"version {_info(settings).get('redis_version')} answers")


def broker_password(settings: Settings) -> Found:
    address = urlsplit(settings.broker_url)
    client = redis.Redis(
        host=address.hostname or "127.0.0.1",
        port=address.port or 6379,
        ssl=address.scheme == "rediss",
        ssl_cert_reqs="none",
        socket_timeout=CONNECT_SECONDS,
        socket_connect_timeout=CONNECT_SECONDS,
    )
    try:
        client.ping()
    except redis.AuthenticationError:
        return ok("refuses without a password")
    except redis.ResponseError as error:
        if "protected mode" in str(error).lower() or "NOAUTH" in str(error):
            return ok("refuses without a password")
        raise
    finally:
        client.close()
    return failed(
        "lets everybody in without a password",
        needed="a broker that asks for one: whoever writes to it can start tasks",
        remedy="Set `requirepass` in Valkey's configuration, and the same password in BASIN_BROKER_URL",
    )


def broker_policy(settings: Settings) -> Found:
    """Of memory that is full. An evicting broker drops messages, and with them wakes and beats."""
    info = _info(settings)
    policy, most = info.get("maxmemory_policy"), int(info.get("maxmemory", 0))
    limit = f"maxmemory {most:,} bytes" if most else "no maxmemory"
    if policy == "noeviction":
        return ok(f"noeviction, {limit}")
    return failed(f"{policy}, {limit}", needed="noeviction", remedy=BROKER_MANUAL)


def broker_persistence(settings: Settings) -> Found:
    if int(_info(settings).get("aof_enabled", 0)):
        return ok("keeps an append-only file")
    return warning(
        "keeps no append-only file",
        needed="one, so that a restart of the broker loses no messages",
        remedy="Set `appendonly yes` in Valkey's configuration; until then rows and beat make up for lost messages",
    )


def own_storage(settings: Settings, engine: Engine) -> Found:
    """With the proof that the database knows; else it may be a mount point without its mount."""
    with Session(engine) as session:
        if not is_there(session, settings.storage):
            return failed(
                f"{settings.storage / PROOF_NAME} is missing or another storage's",
                needed="the storage of this database's runs",
                remedy=f"Mount it at {settings.storage}, for API and Celery worker; the API's log says what it holds",
            )
    return folders.writable(settings.storage)


def _info(settings: Settings) -> dict[str, Any]:
    client: redis.Redis = redis.Redis.from_url(
        settings.broker_url, socket_timeout=CONNECT_SECONDS, socket_connect_timeout=CONNECT_SECONDS
    )
    try:
        info: dict[str, Any] = client.info()
        return info
    finally:
        client.close()
