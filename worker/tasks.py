"""The tasks, thin: each says which part of the rows to look at. Any message may be lost, late, or come twice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any

import structlog
from celery import signals
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from api.runs.canary import TASK, note_taken
from api.settings import settings_or_exit
from api.telemetry import traces
from worker import doctor
from worker.alive import WORKER, note_alive
from worker.app import WORKER_SERVICE, app
from worker.collection import collect_due
from worker.connections import Connections
from worker.launch import launch_for
from worker.pace import Pace
from worker.purge import purge_deleted
from worker.reconcile import reconcile_if_due, reconcile_run
from worker.webhooks import deliver_alone

log = structlog.get_logger()

pace = Pace()
"""This process's."""


@contextmanager
def database_may_be_away() -> Iterator[None]:
    """A database that is down or restarting is one line; the next pass makes up for what was not done."""
    try:
        yield
    except (OperationalError, InterfaceError, PoolTimeout) as error:
        log.warning("database_unreachable", error=str(error).strip().splitlines()[0])


@cache
def connections() -> Connections:
    """This process's own; first called inside a task, so after the fork."""
    return Connections(settings_or_exit())


@app.task(name="launch")
def launch(run_id: str) -> None:
    """A run was queued: start whatever can start now, which need not be this run."""
    with database_may_be_away():
        launch_for(connections(), run_id, pace)


@app.task(name="cancel")
def cancel(run_id: str) -> None:
    """A run is being cancelled or paused: if no trainer holds it, nobody else will end it sooner."""
    with database_may_be_away():
        reconcile_run(connections(), run_id)


@app.task(name="reconcile")
def reconcile() -> None:
    """Compare everything with Ray. Beat sends this every BASIN_RECONCILE_SECONDS; where it does not, the API does."""
    with database_may_be_away():
        reconcile_if_due(connections())


@app.task(name="purge")
def purge() -> None:
    """Remove what was deleted long enough ago. Beat sends this every few minutes."""
    with database_may_be_away():
        purge_deleted(connections())


@app.task(name="deliver_webhooks")
def deliver_webhooks() -> None:
    """A message to a webhook was written, or one may be due again: send what is due."""
    with database_may_be_away():
        deliver_alone(connections())


@app.task(name="collect")
def collect() -> None:
    """Remove what is kept no longer. Beat sends this every hour, and an admin may."""
    with database_may_be_away():
        collect_due(connections())


@app.task(name="examine")
def examine(diagnosis_id: str) -> None:
    """An admin asked whether all is well: look at this part and have the nodes look."""
    with database_may_be_away():
        doctor.examine(connections(), diagnosis_id)


@app.task(name="collect_findings")
def collect_findings(diagnosis_id: str) -> None:
    """They ask how far it is: take in what nodes have found by now."""
    with database_may_be_away():
        doctor.collect_findings(connections(), diagnosis_id)


@app.task(name=TASK)
def canary(sender: str, number: int, sent_at: float | None = None) -> None:
    """Shows that tasks are taken. The API and beat each send one every ten seconds, and the health check its own."""
    if sender != WORKER:
        with database_may_be_away(), connections().engine.begin() as connection:
            note_taken(connection, sender, number, sent_at)


_spans = ExitStack()
"""The span of the task that this process runs, of which there is one at a time."""


@signals.worker_process_init.connect(weak=False)
def _start_tracing(**_: Any) -> None:
    """After the fork, which the thread that sends spans would not survive."""
    traces.start_tracing(WORKER_SERVICE)


@signals.task_prerun.connect(weak=False)
def _bind_ids(task_id: str, task: Any, args: Any = (), **_: Any) -> None:
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(task=task.name, task_id=task_id)
    if args and task.name in (launch.name, cancel.name):
        structlog.contextvars.bind_contextvars(run=args[0])
    # As the API's dispatcher sent them; what beat sends has neither.
    if (request_id := getattr(task.request, "request_id", None)) is not None:
        structlog.contextvars.bind_contextvars(request_id=request_id)
    parent = getattr(task.request, traces.HEADER, None)
    _spans.enter_context(traces.span(f"task {task.name}", parent=parent, **{"basin.task_id": task_id}))


@signals.task_postrun.connect(weak=False)
def _clear_ids(**_: Any) -> None:
    _spans.close()
    structlog.contextvars.clear_contextvars()
    note_alive(WORKER)


@signals.worker_process_shutdown.connect(weak=False)
def _close(**_: Any) -> None:
    if connections.cache_info().currsize:
        connections().close()
    traces.stop_tracing()
