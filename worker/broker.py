"""Keeps the Celery worker's parent process alive when its broker dies.

When the connection is lost, kombu 5.7 puts messages that were handed out and not yet acknowledged back to the queue,
through that same connection. If it noticed the loss while it was reading, the transport is gone by then, and what comes
out is an AttributeError ("'NoneType' object has no attribute 'hostname'") that Celery takes for its own end: the worker
exits [measured: one in a few restarts of Valkey]. Such a message is a hint: it may wait for the visibility timeout.
"""

from __future__ import annotations

from typing import Any

import structlog
from kombu.transport import redis as transport
from redis.exceptions import RedisError

log = structlog.get_logger()


class PatientQoS(transport.QoS):  # type: ignore[misc]
    """Leaves unacknowledged messages to the visibility timeout where the broker is away."""

    def restore_unacked_once(self, stderr: Any = None) -> None:
        try:
            super().restore_unacked_once(stderr=stderr)
        except (AttributeError, RedisError, OSError) as error:
            log.warning("messages_left_to_visibility_timeout", error=str(error))


def outlive_the_broker() -> None:
    """From here on, for every connection of this process."""
    transport.Channel.QoS = PatientQoS
