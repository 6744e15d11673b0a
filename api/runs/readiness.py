"""Whether Basin can take and train runs now, part by part, and what to do about a part that does not work."""

from __future__ import annotations

from collections.abc import Callable

import redis
from sqlalchemy import Connection, Engine, func, select
from sqlalchemy.exc import SQLAlchemyError

from api.db.migrate import current_revision, head_revision
from api.db.tables import Heartbeat, StorageProof
from api.dispatch import Dispatcher
from api.runs.canary import API, BEAT, CanaryState, canary_states
from api.runs.probe import Probe
from api.runs.schemas import Check, Readiness
from api.runs.storage import PROOF_NAME
from api.runs.storage_state import StorageState
from api.settings import Settings

LEAST_PATIENCE_SECONDS = 30.0
CANARY_PATIENCE_SECONDS = 45.0
"""One canary may be lost, and a busy Celery worker may take the next one late."""
MIB = 2**20


def readiness(engine: Engine, dispatcher: Dispatcher, settings: Settings, storage: Probe[StorageState]) -> Readiness:
    """Never raises; no secret is in a detail."""
    database = _checked("database", lambda: _database(engine))
    checks = [database]
    if database.ok:
        checks.append(_checked("migrations", lambda: _migrations(engine)))
    checks.append(_checked("broker", lambda: _broker(dispatcher)))
    checks += _storage(engine, storage, with_database=database.ok)
    if database.ok:
        patience = max(LEAST_PATIENCE_SECONDS, 10 * settings.reconcile_seconds)
        checks += _celery(engine, CANARY_PATIENCE_SECONDS)
        checks += [_checked(name, lambda look=look: look(engine, patience)) for name, look in _BY_HEARTBEAT.items()]  # type: ignore[misc]
    return Readiness(ready=all(check.ok for check in checks), checks=checks)


class _NotReadyError(Exception):
    """Its text is the detail."""


def _checked(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name=name, ok=True, detail=look())
    except _NotReadyError as error:
        return Check(name=name, ok=False, detail=str(error))
    except SQLAlchemyError:
        return Check(
            name=name, ok=False, detail="the database did not answer: is PostgreSQL up, and BASIN_DATABASE_URL right?"
        )
    except (redis.RedisError, OSError):
        return Check(name=name, ok=False, detail="did not answer: is Valkey up, and BASIN_BROKER_URL right?")


def _database(engine: Engine) -> str:
    with engine.connect() as connection:
        connection.execute(select(1))
    return "answers"


def _broker(dispatcher: Dispatcher) -> str:
    dispatcher.ping()
    return "answers"


def _migrations(engine: Engine) -> str:
    with engine.connect() as connection:
        current = current_revision(connection)
    if current != head_revision():
        raise _NotReadyError(f"at {current}, needs {head_revision()}: run `python -m api.db.migrate`")
    return f"at {current}"


# ---- Storage ---------------------------------------------------------------------------------------------------------


def _storage(engine: Engine, probe: Probe[StorageState], *, with_database: bool) -> list[Check]:
    """ "storage", and "disk space" where the storage answers."""
    try:
        state = probe.read()
    except TimeoutError:
        why = f"did not answer within {probe.patience_seconds:g} s: is its file server up, and the mount alive?"
        return [Check(name="storage", ok=False, detail=why)]
    except OSError as error:
        why = f"{error.strerror}: mount the storage where the API runs, or set BASIN_STORAGE to where it is"
        return [Check(name="storage", ok=False, detail=why)]
    return [
        _checked("storage", lambda: _is_right(engine if with_database else None, state)),
        _checked("disk space", lambda: _has_room(state)),
    ]


def _is_right(engine: Engine | None, state: StorageState) -> str:
    kept = _kept_proof(engine) if engine is not None else None
    if state.proof is None:
        raise _NotReadyError(
            f"its {PROOF_NAME} cannot be read: mount the storage of this database's runs (the API's log has more)"
        )
    if kept is not None and state.proof != kept:
        raise _NotReadyError(
            f"its {PROOF_NAME} is another storage's: mount the storage of this database's runs (the API's log has more)"
        )
    if state.write_error is not None:
        raise _NotReadyError(f"a file could not be written ({state.write_error}): give the API's user the right to")
    return "can be read and written"


def _kept_proof(engine: Engine) -> str | None:
    with engine.connect() as connection:
        return connection.scalar(select(StorageProof.proof))


def _has_room(state: StorageState) -> str:
    free = f"{state.free_bytes / MIB:,.0f} MiB of {state.size_bytes / MIB:,.0f} MiB are free"
    if state.is_nearly_full:
        raise _NotReadyError(f"{free}, and the next checkpoint may not fit: delete runs, or enlarge the storage")
    return free


# ---- What shows itself by rows ---------------------------------------------------------------------------------------


def _celery(engine: Engine, patience: float) -> list[Check]:
    """By canary tasks: "celery worker", and "beat", of which nothing is known while no worker takes its tasks."""
    try:
        with engine.connect() as connection:
            states = canary_states(connection)
    except SQLAlchemyError:
        states = {}
    worker = _checked("celery worker", lambda: _takes_canaries(states.get(API), patience))
    beat = _checked("beat", lambda: _sends_canaries(states.get(BEAT), patience, worker_ok=worker.ok))
    return [worker, beat]


def _takes_canaries(state: CanaryState | None, patience: float) -> str:
    if state is None:
        raise _NotReadyError(
            "has never taken a canary task: is the Celery worker up, with the API's BASIN_BROKER_URL and"
            " BASIN_DATABASE_URL?"
        )
    if state.age_seconds > patience:
        raise _NotReadyError(
            f"took no canary task for {state.age_seconds:.0f} s, though it may be connected: look at its log, and"
            " restart it"
        )
    return (
        f"took a canary task {state.age_seconds:.0f} s ago, {state.round_trip_seconds or 0.0:.2f} s after it was sent"
    )


def _sends_canaries(state: CanaryState | None, patience: float, *, worker_ok: bool) -> str:
    if state is not None and state.age_seconds <= patience:
        return f"sent a canary task {state.age_seconds:.0f} s ago"
    if not worker_ok:
        raise _NotReadyError("cannot be told while the Celery worker takes no tasks: mend that first")
    since = "never sent a task" if state is None else f"sent no task for {state.age_seconds:.0f} s"
    raise _NotReadyError(f"{since}: is beat up, with the API's BASIN_BROKER_URL? Look at its log, and restart it")


def _reconciles(engine: Engine, patience: float) -> str:
    return _heartbeat(engine, "reconcile", patience, remedy="look at the Celery worker's log")


def _ray(engine: Engine, patience: float) -> str:
    remedy = "is Ray's head up, are BASIN_RAY_ADDRESS and BASIN_RAY_TOKEN right?"
    return _heartbeat(engine, "ray", patience, remedy=remedy)


_BY_HEARTBEAT: dict[str, Callable[[Engine, float], str]] = {"reconcile": _reconciles, "ray": _ray}
"""What a part is called -> how it is looked at."""


def _heartbeat(engine: Engine, part: str, patience_seconds: float, *, remedy: str) -> str:
    with engine.connect() as connection:
        row = _last_beat(connection, part)
    if row is None:
        raise _NotReadyError(f"never seen: is the Celery worker up? If it is: {remedy}")
    age, detail = row
    if age > patience_seconds:
        raise _NotReadyError(f"last seen {age:.0f} s ago{f' ({detail})' if detail else ''}: {remedy}")
    return f"seen {max(0.0, age):.0f} s ago"


def _last_beat(connection: Connection, part: str) -> tuple[float, str | None] | None:
    age = func.extract("epoch", func.clock_timestamp() - Heartbeat.at)
    row = connection.execute(select(age, Heartbeat.detail).where(Heartbeat.part == part)).one_or_none()
    return None if row is None else (float(row[0]), row[1])
