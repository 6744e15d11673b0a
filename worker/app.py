"""The Celery application: `python -m celery -A worker.app worker` and `... beat`.

Messages are hints, tasks take seconds, the rows are the truth. So a message may be lost or come twice: it is taken off
the queue before its task runs, and no result is kept. None expires: that would be judged by the worker's clock from a
time by the sender's, and one clock that is wrong would drop them all. Those that piled up while nobody took them cost
little instead: whoever comes second finds nothing to do. Loads neither torch nor ray.
"""

from __future__ import annotations

import sys
from typing import Any

from celery import Celery, signals

from api.runs import canary
from api.settings import Settings, settings_or_exit
from api.telemetry.logs import configure_logs
from worker.broker import outlive_the_broker
from worker.shutdown import end_soon

SOFT_LIMIT_SECONDS = 120
"""A task is told to stop: longer than the slowest sequence of calls to a Ray that hardly answers."""
HARD_LIMIT_SECONDS = 150
"""Then its process is killed; the next pass of reconcile repairs what it left."""
VISIBILITY_TIMEOUT_SECONDS = 600
"""For messages handed out but not yet acknowledged; longer than a hard limit. The shortest of all senders would win."""
PURGE_SECONDS = 300.0
"""Time between two looks for deleted runs whose time to be restored is over."""
SOFT_SHUTDOWN_SECONDS = 10.0
TASKS_PER_CHILD = 2_000
BROKER_TIMEOUT_SECONDS = 5.0
HEALTH_CHECK_SECONDS = 10
"""A connection to the broker that was idle for so long is tried before it is used."""
WEBHOOK_SECONDS = 5.0
"""Between two looks for webhook messages that are due: the shortest delay of their back-off."""
COLLECT_SECONDS = 3600.0
"""Between two passes over what is kept no longer: logs, points, events, deliveries."""
WORKER_SERVICE, BEAT_SERVICE = "basin-worker", "basin-beat"
CHATTY = ("httpx", "celery.beat", "celery.worker.strategy", "celery.app.trace")
"""Loggers that say something with every task or request: every few seconds, for ever."""


def configuration(settings: Settings) -> dict[str, Any]:
    """Celery's settings from Basin's."""
    return {
        "broker_url": settings.broker_url,
        "broker_connection_retry_on_startup": True,
        "broker_connection_retry": True,
        "broker_connection_max_retries": None,  # A broker that comes back late is still waited for.
        "broker_connection_timeout": BROKER_TIMEOUT_SECONDS,
        "broker_transport_options": {
            "visibility_timeout": VISIBILITY_TIMEOUT_SECONDS,
            "socket_timeout": BROKER_TIMEOUT_SECONDS,
            "socket_connect_timeout": BROKER_TIMEOUT_SECONDS,
            "socket_keepalive": True,
            "health_check_interval": HEALTH_CHECK_SECONDS,
        },
        "accept_content": ["json"],
        "task_serializer": "json",
        "task_ignore_result": True,
        "task_store_errors_even_if_ignored": False,
        "result_backend": None,
        "task_acks_late": False,
        "task_time_limit": HARD_LIMIT_SECONDS,
        "task_soft_time_limit": SOFT_LIMIT_SECONDS,
        "task_publish_retry_policy": {"max_retries": 1, "interval_start": 0.1},
        "worker_prefetch_multiplier": 1,
        "worker_max_tasks_per_child": TASKS_PER_CHILD,
        "worker_soft_shutdown_timeout": SOFT_SHUTDOWN_SECONDS,
        "worker_hijack_root_logger": False,
        "worker_send_task_events": False,
        "worker_enable_remote_control": False,
        "worker_cancel_long_running_tasks_on_connection_loss": True,  # Ours are acknowledged early, so none is.
        "enable_utc": True,
        "beat_scheduler": "worker.beat:SteadyScheduler",
        "beat_schedule": {
            task: {"task": task, "schedule": seconds, "args": arguments, "options": {"ignore_result": True}}
            for task, seconds, arguments in (
                ("reconcile", settings.reconcile_seconds, ()),
                ("purge", PURGE_SECONDS, ()),
                ("deliver_webhooks", WEBHOOK_SECONDS, ()),
                ("collect", COLLECT_SECONDS, ()),
                (canary.TASK, canary.INTERVAL_SECONDS, (canary.BEAT, 0)),
            )
        },
    }


def take_over_logs(**_: Any) -> None:
    """In place of Celery's own set-up of logging, in the worker and in beat, before any fork."""
    service = BEAT_SERVICE if "beat" in sys.argv else WORKER_SERVICE
    configure_logs(settings_or_exit().log_format, service=service, quiet=CHATTY)


def make_app() -> Celery:
    """Reads the settings when Celery first needs them, not at import."""
    outlive_the_broker()
    end_soon()
    made = Celery("basin", include=["worker.tasks"])
    made.add_defaults(lambda: configuration(settings_or_exit()))
    return made


signals.setup_logging.connect(take_over_logs, weak=False)
app = make_app()
