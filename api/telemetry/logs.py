"""One log for all that this process says: structlog's events and the lines of libraries, in one form.

`json`: a line is a JSON object with `timestamp`, `level`, `event`, `logger`, `service`, what is bound (`request_id`,
`run`, `attempt`, `task`, `task_id`, `trace_id`, `span_id`) and the event's own fields. `text`: a line for a person.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterable
from typing import Any, Literal

import structlog
from structlog.typing import EventDict, Processor

from api.telemetry import traces

LogFormat = Literal["text", "json"]

PROBED = frozenset({"/healthz", "/readyz", "/metrics", "/api/v1/healthz", "/api/v1/readyz"})
"""Asked for every few seconds, for ever: told only when the answer is an error."""
SECRETS = re.compile(
    r"""(?P<before>\bBearer\s+|[?&#](?:access_)?token=)[^\s"'&\\]+"""
    r"|(?P<user>://[^\s:/@]*:)[^\s/@]+(?=@)"
    r"|\bbasin_[A-Za-z0-9_-]{40,}"
)
"""What a library might quote: bearer tokens, tokens in addresses, passwords in URLs, tokens of users."""


def configure_logs(log_format: LogFormat, *, service: str, quiet: Iterable[str] = ()) -> None:
    """Takes over all logging of this process, to standard error. `quiet`: loggers that only warn."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _Service(service),
        _trace_ids,
    ]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        _WithoutSecrets(
            foreign_pre_chain=[*shared, _access_fields],
            pass_foreign_args=True,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_rendered(log_format)],
        )
    )
    logging.captureWarnings(True)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.INFO)
    _take_over_uvicorn()
    for name in quiet:
        logging.getLogger(name).setLevel(logging.WARNING)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        cache_logger_on_first_use=False,
    )


def request_id() -> str | None:
    """Of the request that is being answered, or that the running task came from."""
    bound: str | None = structlog.contextvars.get_contextvars().get("request_id")
    return bound


def _rendered(log_format: LogFormat) -> list[Processor]:
    if log_format == "json":
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str)]
    return [
        structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback, pad_event_to=0
        )
    ]


class _Service:
    def __init__(self, service: str) -> None:
        self._service = service

    def __call__(self, _logger: Any, _method: str, event: EventDict) -> EventDict:
        event["service"] = self._service
        return event


def _trace_ids(_logger: Any, _method: str, event: EventDict) -> EventDict:
    if (ids := traces.current_ids()) is not None:
        event["trace_id"], event["span_id"] = ids
    return event


def _access_fields(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """uvicorn's access line as fields, without the query: whatever somebody put there stays out of the log."""
    record: logging.LogRecord = event["_record"]
    args = event.pop("positional_args", ())
    if record.name == "uvicorn.access" and isinstance(args, tuple) and len(args) == 5:
        client, method, target, _, status = args
        event.update(client=client, method=method, path=_path(target), status=status, event="request")
    return event


def _path(target: object) -> str:
    return str(target).partition("?")[0]


def _is_worth_a_line(record: logging.LogRecord) -> bool:
    """For uvicorn's access log: all but successful probes."""
    if not isinstance(record.args, tuple) or len(record.args) != 5:
        return True
    status = record.args[4]
    return _path(record.args[2]) not in PROBED or not isinstance(status, int) or status >= 400


def _take_over_uvicorn() -> None:
    """Its loggers have handlers of their own; without one on the access log uvicorn was told to keep none."""
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        if name == "uvicorn.access" and not logger.handlers:
            continue
        logger.handlers, logger.propagate = [], True
    access = logging.getLogger("uvicorn.access")
    if _is_worth_a_line not in access.filters:
        access.addFilter(_is_worth_a_line)


class _WithoutSecrets(structlog.stdlib.ProcessorFormatter):
    """The last look at a line before it is written."""

    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        return SECRETS.sub(lambda found: f"{found['before'] or found['user'] or ''}[hidden]", line)
