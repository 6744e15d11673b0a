"""The two requests a trainer sends: the claim and its reports.

On the standard library's HTTP client and not on httpx: importing that takes a quarter of a second of processor time
in the driver, on the way to the first step, for two POSTs.
"""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, TypeVar
from urllib.parse import urlsplit

from pydantic import BaseModel, ValidationError

from trainer.contract.reports import Claim, ClaimRequest, ReportReply, Writer

TIMEOUT_SECONDS = 10.0
"""For connecting, and for each wait on the socket."""
TRY_AGAIN = {408, 425, 429}
MAX_ANSWER_BYTES = 64 * 2**20
NO_HEADERS: Mapping[str, str] = MappingProxyType({})

Answer = TypeVar("Answer", bound=BaseModel)


class Unreachable(Exception):
    """No answer, or one that means "later" (5xx, 408, 425, 429): try again."""


class Refused(Exception):
    """The API answered and will not take it; `str()` is its sentence."""

    def __init__(self, status: int, sentence: str, acknowledged: int | None = None) -> None:
        super().__init__(sentence)
        self.status = status
        self.acknowledged = acknowledged
        """With a 409 on reports: the highest seq the API holds, if it said so."""


class ApiClient:
    """One attempt's line to the API; one connection, kept open. Not for several threads at once."""

    def __init__(self, api_url: str, attempt_id: str, *, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        parts = urlsplit(api_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(
                f"the API's address is {api_url!r}, must be http://HOST:PORT or https://HOST: set BASIN_API_URL"
            )
        self._host, self._port, self._tls = parts.hostname, parts.port, parts.scheme == "https"
        self._prefix = f"{parts.path.rstrip('/')}/api/v1/attempts/{attempt_id}"
        self._timeout_seconds = timeout_seconds
        self._connection: http.client.HTTPConnection | None = None

    def claim(self, launch_code: str, request: ClaimRequest, *, traceparent: str | None = None) -> Claim:
        """`traceparent`: where it stands in a trace. Raises Unreachable or Refused (409: another process holds the
        attempt)."""
        headers = {"traceparent": traceparent} if traceparent else {}
        return self._ask("claim", launch_code, request.model_dump_json().encode(), Claim, headers)

    def report(self, attempt_token: str, writer: Writer, lines: list[str]) -> ReportReply:
        """Sends reports as JSON lines, ascending without gaps. Raises Unreachable or Refused (409: a gap)."""
        body = f'{{"writer":"{writer}","reports":[{",".join(lines)}]}}'
        return self._ask("reports", attempt_token, body.encode(), ReportReply)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _ask(
        self, path: str, bearer: str, body: bytes, answer: type[Answer], headers: Mapping[str, str] = NO_HEADERS
    ) -> Answer:
        status, content = self._post(path, bearer, body, headers)
        if status >= 500 or status in TRY_AGAIN:
            raise Unreachable(f"the API answered {status}")
        if status != 200:
            raise _refusal(status, content)
        try:
            return answer.model_validate_json(content)
        except ValidationError as error:  # not Basin's API, or a proxy's page: may be over in a moment
            raise Unreachable(f"the API's answer to {path} could not be read: {error.errors()[0]['msg']}") from error

    def _post(self, path: str, bearer: str, body: bytes, more: Mapping[str, str]) -> tuple[int, bytes]:
        headers = {"Authorization": f"Bearer {bearer}", "Content-Type": "application/json", **more}
        kept = self._connection is not None
        try:
            return self._exchange(path, body, headers)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            if not (kept and isinstance(error, ConnectionError | http.client.BadStatusLine)):
                raise Unreachable(f"{type(error).__name__}: {error}") from error
        try:  # a connection kept open may have been closed by the other side since; both requests may be repeated
            return self._exchange(path, body, headers)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise Unreachable(f"{type(error).__name__}: {error}") from error

    def _exchange(self, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        if self._connection is None:
            self._connection = self._connect()
        self._connection.request("POST", f"{self._prefix}/{path}", body=body, headers=headers)
        response = self._connection.getresponse()
        content = response.read(MAX_ANSWER_BYTES)
        return response.status, content

    def _connect(self) -> http.client.HTTPConnection:
        if self._tls:
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(self._host, self._port, timeout=self._timeout_seconds, context=context)
        return http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_seconds)


def _refusal(status: int, content: bytes) -> Refused:
    try:
        problem: Any = json.loads(content)
    except ValueError:
        problem = {}
    if not isinstance(problem, dict):
        problem = {}
    sentence = str(problem.get("detail") or problem.get("title") or http.client.responses.get(status, "refused"))
    acknowledged = problem.get("acknowledged")
    return Refused(status, sentence, acknowledged if isinstance(acknowledged, int) else None)
