"""The only module that talks to Ray: its HTTP job API, so that no Celery process ever imports Ray.

Ray's own job statuses are translated here and go no further. What Ray answers is a hint: it forgets every job when its
head restarts, and after a failover it can call a live job failed (ray-project/ray#44218, #65025).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import TracebackType
from typing import Any, Self

import httpx

CONNECT_SECONDS = 5.0
READ_SECONDS = 10.0
# A submission that is cut off can leave a job pending for ever (ray-project/ray#62766), so it may take its time. Ray
# itself waits up to 30 s for an agent.
SUBMIT_SECONDS = 45.0
MAX_LOG_LINES = 200
MAX_LOG_BYTES = 64 * 1024
MAX_MESSAGE = 2_000
# A little of a resource that training nodes offer and a head without training does not. A driver needs no CPU slot.
DRIVER_RESOURCE = {"driver": 0.001}
NODE_RESOURCE, HEAD_RESOURCE = "node:", "node:__internal_head__"


class JobState(StrEnum):
    """What matters about a Ray job: does it hold its slots (`pending`, `running`) or not (`ended`, `gone`)?"""

    pending = "pending"
    running = "running"
    ended = "ended"
    gone = "gone"
    """Ray does not know the job: it was never submitted, or Ray's head has restarted since."""

    @property
    def is_over(self) -> bool:
        return self in (JobState.ended, JobState.gone)


_STATES = {
    "PENDING": JobState.pending,
    "RUNNING": JobState.running,
    "STOPPED": JobState.ended,
    "SUCCEEDED": JobState.ended,
    "FAILED": JobState.ended,
}


def translated(status: str) -> JobState:
    """A status this version of Basin does not know counts as running: that frees nothing and starts nothing."""
    return _STATES.get(status, JobState.running)


class RayError(Exception):
    """Ray did not do what it was asked."""


class RayUnreachable(RayError):
    """No usable answer: nothing may be concluded about any job."""


class RayRefused(RayError):
    """Ray answered that the request itself is wrong; asking again will not help."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A Ray job as Ray sees it; `message` is Ray's own sentence, cut to 2,000 characters."""

    submission_id: str
    state: JobState
    message: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    ended_at: float | None = None
    """Unix seconds by Ray's clock; null while it lives."""
    driver_node_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class Node:
    """A machine of the Ray cluster with all it offers, free or not."""

    node_id: str
    host: str
    """The node's name as Ray has it: `ray start --node-name`, else its address."""
    cpus: float
    gpus: float
    alive: bool
    trains: bool = True
    """Whether it offers the resource that drivers take; a head without training does not."""
    resource: str | None = None
    """A resource of Ray's that only this node has, by which a job is sent there."""


@dataclass(frozen=True, kw_only=True)
class JobRequest:
    """A job to submit; `submission_id` makes the submission safe to repeat while Ray remembers it."""

    submission_id: str
    entrypoint: str
    env_vars: Mapping[str, str]
    metadata: Mapping[str, str]
    resources: Mapping[str, float] = field(default_factory=lambda: DRIVER_RESOURCE)
    """What the driver takes of its node."""


class RayJobs:
    """A connection to Ray's job API; a context manager, used by one task and then closed."""

    def __init__(self, address: str, token: str) -> None:
        self._address = address
        self._client = httpx.Client(
            base_url=address,
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS),
            trust_env=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._client.close()

    def submit(self, request: JobRequest) -> None:
        """Hands a job to Ray. An id that Ray already has counts as submitted.

        Raises RayRefused for a request Ray will never take, RayUnreachable otherwise; then the job may exist or not.
        """
        body = {
            "entrypoint": request.entrypoint,
            "submission_id": request.submission_id,
            "runtime_env": {"env_vars": dict(request.env_vars)},
            "metadata": dict(request.metadata),
            "entrypoint_num_cpus": 0,
            "entrypoint_resources": dict(request.resources),
        }
        answer = self._send("POST", "/api/jobs/", json=body, timeout=SUBMIT_SECONDS)
        # Ray words a repeated id as a traceback, with status 400 or 500 depending on which of its processes found out.
        if answer.is_success or "already exists" in answer.text:
            return
        if answer.is_client_error:
            raise RayRefused(f"Ray refused job {request.submission_id}: {_last_line(answer.text)}")
        raise self._unusable(answer)

    def job(self, submission_id: str) -> Job:
        """One job; `gone` if Ray does not know it."""
        answer = self._send("GET", f"/api/jobs/{submission_id}")
        if _says_gone(answer):
            return Job(submission_id=submission_id, state=JobState.gone)
        return _job(self._json(answer))

    def jobs(self) -> dict[str, Job]:
        """All submitted jobs that Ray remembers, by submission id; one request."""
        found = self._json(self._send("GET", "/api/jobs/"))
        return {row["submission_id"]: _job(row) for row in found if row.get("submission_id")}

    def stop(self, submission_id: str) -> None:
        """Asks Ray to end a job: SIGTERM, after 3 s (RAY_JOB_STOP_WAIT_TIME_S) SIGKILL. Returns before it has ended.

        Ray does nothing for a job that still waits for resources, and says otherwise (ray-project/ray#58353): repeat
        until the job is over. A job that is over or gone is left as it is.
        """
        answer = self._send("POST", f"/api/jobs/{submission_id}/stop")
        if not answer.is_success and not _says_gone(answer):
            raise self._unusable(answer)

    def delete(self, submission_id: str) -> None:
        """Makes Ray forget a job that is over; raises RayUnreachable for one that is not."""
        answer = self._send("DELETE", f"/api/jobs/{submission_id}")
        if not answer.is_success and not _says_gone(answer):
            raise self._unusable(answer)

    def log_tail(self, job: Job, lines: int = MAX_LOG_LINES) -> str:
        """The last lines that the job's driver printed, at most 64 KiB; Ray's message where the log cannot be read."""
        if job.driver_node_id is None:
            return job.message
        name = f"job-driver-{job.submission_id}.log"
        query = {"node_id": job.driver_node_id, "filename": name, "lines": str(min(lines, MAX_LOG_LINES))}
        answer = self._send("GET", "/api/v0/logs/file", params=query)
        return answer.text[-MAX_LOG_BYTES:] if answer.is_success else job.message

    def nodes(self) -> list[Node]:
        """The cluster's nodes with their total resources, dead ones too, by id. None in a cluster that is starting."""
        answer = self._json(self._send("GET", "/api/v0/nodes", params={"limit": "10000"}))
        if not answer.get("result"):
            raise RayUnreachable(
                f"Ray at {self._address} did not list its nodes: {answer.get('msg', '')[:MAX_MESSAGE]}"
            )
        return sorted((_node(row) for row in answer["data"]["result"]["result"]), key=lambda node: node.node_id)

    def version(self) -> str | None:
        """Of the head's Ray; None where it does not say."""
        version: str | None = self._json(self._send("GET", "/api/version")).get("ray_version")
        return version

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            answer = self._client.request(method, path, **options)
        except httpx.HTTPError as error:
            raise RayUnreachable(
                f"Ray at {self._address} did not answer ({type(error).__name__}): start it or mend BASIN_RAY_ADDRESS"
            ) from error
        if answer.status_code in (401, 403):
            raise RayUnreachable(
                f"Ray at {self._address} refused the token ({answer.status_code}): "
                "set BASIN_RAY_TOKEN to the token that Ray's head was started with"
            )
        return answer

    def _json(self, answer: httpx.Response) -> Any:
        if not answer.is_success:
            raise self._unusable(answer)
        try:
            return answer.json()
        except ValueError as error:
            raise RayUnreachable(f"{self._address} answered {answer.request.url.path} without JSON") from error

    def _unusable(self, answer: httpx.Response) -> RayUnreachable:
        return RayUnreachable(
            f"Ray at {self._address} answered {answer.status_code} to {answer.request.method} "
            f"{answer.request.url.path}: {_last_line(answer.text)}"
        )


def _says_gone(answer: httpx.Response) -> bool:
    # The wording tells Ray's own answer from the 404 of a proxy or of some other server on the port.
    return answer.status_code == 404 and "does not exist" in answer.text


def _last_line(text: str) -> str:
    """The last line of a traceback that says something: the error itself."""
    lines = [line.strip() for line in text.splitlines() if line.strip(" .")]
    return lines[-1][:MAX_MESSAGE] if lines else "(no text)"


def _job(row: Mapping[str, Any]) -> Job:
    ended_ms = row.get("end_time")
    return Job(
        submission_id=row["submission_id"],
        state=translated(row["status"]),
        message=(row.get("message") or "")[-MAX_MESSAGE:],
        metadata=row.get("metadata") or {},
        ended_at=ended_ms / 1000 if ended_ms else None,
        driver_node_id=row.get("driver_node_id"),
    )


def _node(row: Mapping[str, Any]) -> Node:
    total = row.get("resources_total") or {}
    return Node(
        node_id=row["node_id"],
        host=row.get("node_name") or row.get("node_ip") or row["node_id"][:12],
        cpus=float(total.get("CPU", 0)),
        gpus=float(total.get("GPU", 0)),
        alive=row.get("state") == "ALIVE",
        trains=any(total.get(name, 0) > 0 for name in DRIVER_RESOURCE),
        resource=next((name for name in total if name.startswith(NODE_RESOURCE) and name != HEAD_RESOURCE), None),
    )
