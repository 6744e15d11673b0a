"""One signed HTTP request to a receiver: to a checked address, within a time, and never anywhere else.

httpcore opens connections through a backend; ours resolves the name, judges every address, and connects to one that
was judged. Host header, SNI and certificate stay those of the name. Nothing here follows a redirect or a proxy.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from ipaddress import ip_address
from queue import Empty, SimpleQueue
from typing import Any
from urllib.parse import urlsplit

import httpcore
import httpx
import structlog

from api.runs.documents import storable_text
from api.runs.webhooks.addresses import LISTED, PrivateHosts, url_problem

log = structlog.get_logger()

TIMEOUT_SECONDS = 15.0
"""From looking the name up to the last byte that is kept of the answer."""
CONNECT_SECONDS = 4.0
EXCERPT_BYTES = 1024


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of one request: a status, or an error that says why there is none."""

    milliseconds: int
    status_code: int | None = None
    error: str | None = None
    excerpt: str | None = None
    """The first KiB of the answer."""
    retry_after_seconds: int | None = None
    """What the receiver asked for, if it gave a number."""

    @property
    def is_success(self) -> bool:
        return self.status_code is not None and 200 <= self.status_code < 300

    @property
    def is_gone(self) -> bool:
        """410: the receiver wants no more."""
        return self.status_code == 410


class Refused(Exception):
    """The address is not one that a webhook may reach; the message is for its owner."""


def send(
    url: str, headers: Mapping[str, str], body: bytes, private: PrivateHosts, *, seconds: float = TIMEOUT_SECONDS
) -> Outcome:
    """POSTs `body`; whatever happens is an Outcome. Takes at most about `seconds`."""
    began = time.monotonic()
    try:
        if problem := url_problem(url, private):
            raise Refused(f"not sent: the URL {problem.allowed}. {problem.remedy}")
        return _post(url, headers, body, private, began, seconds)
    except Refused as error:
        told = str(error)
    except (httpcore.TimeoutException, TimeoutError):
        told = f"no answer within {seconds:g} s: answer first, and work on the message afterwards"
    except (httpcore.NetworkError, httpcore.ProtocolError, OSError) as error:
        cause = error.__cause__ or error.__context__
        shown = str(error) or str(cause or "")
        told = f"the connection failed: {shown or type(error).__name__}"
    except Exception as error:  # Else the attempt has no outcome, and is made again for ever as its lease runs out.
        log.exception("webhook_not_sent")
        told = f"not sent: {type(error).__name__}, which nobody foresaw: an operator finds it in the worker's log"
    return Outcome(milliseconds=_since(began), error=storable_text(told)[:500])


def _post(
    url: str, headers: Mapping[str, str], body: bytes, private: PrivateHosts, began: float, seconds: float
) -> Outcome:
    backend = CheckedBackend(private, deadline=began + seconds)
    parts = urlsplit(url)
    assert parts.hostname is not None, "the check of the URL requires a host"
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    place = httpcore.URL(
        scheme=parts.scheme.encode(), host=parts.hostname.encode(), port=parts.port, target=target.encode()
    )
    sent = {
        "Host": parts.netloc,
        "Content-Type": "application/json",
        "User-Agent": f"Basin-Webhooks/{version('basin')}",
        "Accept": "*/*",
        "Connection": "close",
        **headers,
    }
    fields = [(name.encode(), value.encode()) for name, value in sent.items()]
    with (
        httpcore.ConnectionPool(ssl_context=_tls(), network_backend=backend, max_connections=1) as pool,
        pool.stream("POST", place, headers=fields, content=body) as answer,
    ):
        excerpt = _beginning(answer)
        given = {key.lower(): value.decode("latin-1") for key, value in answer.headers}
    redirect = f"{answer.status} to {given.get(b'location', '')[:200]}: redirects are not followed, give the final URL"
    return Outcome(
        milliseconds=_since(began),
        status_code=answer.status,
        error=storable_text(redirect) if 300 <= answer.status < 400 else None,
        excerpt=excerpt,
        retry_after_seconds=_number(given.get(b"retry-after", "")),
    )


def _beginning(answer: httpcore.Response) -> str | None:
    """The status is the answer: a body that breaks off or never ends takes nothing from it."""
    kept = b""
    try:
        for part in answer.iter_stream():
            kept += part
            if len(kept) >= EXCERPT_BYTES:
                break
    except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError, TimeoutError):
        pass
    return storable_text(kept[:EXCERPT_BYTES].decode("utf-8", "replace")) or None


def _number(words: str) -> int | None:
    return int(words) if words.isascii() and words.isdigit() and len(words) < 8 else None


def _since(began: float) -> int:
    return round((time.monotonic() - began) * 1000)


@cache
def _tls() -> ssl.SSLContext:
    """httpx's own: certifi's roots, or those of SSL_CERT_FILE or SSL_CERT_DIR for a private authority."""
    return httpx.create_ssl_context()


class CheckedBackend(httpcore.NetworkBackend):
    """Connects to addresses that may be reached, and lets nothing last beyond the deadline (`time.monotonic`)."""

    def __init__(self, private: PrivateHosts, *, deadline: float) -> None:
        self._private = private
        self._deadline = deadline
        self._plain = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        failure: Exception | None = None
        addresses = resolved(host, port, left(self._deadline))  # Once: what is judged is what is connected to.
        for address in addresses:
            # One that is not allowed spoils the name, whatever else it has: nobody's receiver needs that.
            if not self._private.allow(host, ip_address(address)):
                log.warning("webhook_refused", host=host, address=address)  # The lab's network is no member's business.
                raise Refused(f"not sent: {host} resolves to a private, local or reserved address. {LISTED}")
        for address in addresses:
            # All but the last leave time for the next: of two families one is often cut off.
            wait = left(self._deadline) if address == addresses[-1] else min(left(self._deadline), CONNECT_SECONDS)
            try:
                stream = self._plain.connect_tcp(address, port, wait, None, socket_options)
                return BoundedStream(stream, self._deadline)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure or httpcore.ConnectError(f"{host} has no address")

    def connect_unix_socket(self, *_: Any, **__: Any) -> httpcore.NetworkStream:
        raise Refused("not sent: a webhook reaches no socket of this machine")


class BoundedStream(httpcore.NetworkStream):
    """A stream whose reads and writes end at one deadline: a byte now and then does not keep us."""

    def __init__(self, stream: httpcore.NetworkStream, deadline: float) -> None:
        self._stream, self._deadline = stream, deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, left(self._deadline))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, left(self._deadline))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return BoundedStream(self._stream.start_tls(ssl_context, server_hostname, left(self._deadline)), self._deadline)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def left(deadline: float) -> float:
    """Seconds until `deadline`. Raises TimeoutError when it is over."""
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise TimeoutError
    return seconds


def resolved(host: str, port: int, seconds: float) -> list[str]:
    """The host's addresses, each once. Raises TimeoutError, and Refused where it has none.

    The system's resolver has time limits of its own, which may be longer, so it is asked in a thread that is left
    behind when it takes too long.
    """
    answers: SimpleQueue[list[str] | OSError] = SimpleQueue()

    def ask() -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            answers.put(list(dict.fromkeys(str(entry[4][0]) for entry in found)))
        except (OSError, UnicodeError) as error:
            answers.put(OSError(str(error)))

    threading.Thread(target=ask, daemon=True, name="webhook-resolve").start()
    try:
        answer = answers.get(timeout=seconds)
    except Empty:
        raise TimeoutError from None
    if isinstance(answer, OSError):
        raise Refused(f"not sent: {host} could not be resolved: check the name ({answer})")
    return answer
