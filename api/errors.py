"""One tree of errors. Each knows its HTTP status, its problem type (RFC 9457) and, for bad input, the fields at fault.

The message is the `detail` a person reads: what is wrong with its value, what is allowed, what to do.
"""

from __future__ import annotations

from typing import Any, ClassVar

from trainer.contract.problems import SpecProblem


class BasinError(Exception):
    """Base. `extra` joins the problem document; `headers` the response."""

    http_status: ClassVar[int] = 500
    slug: ClassVar[str] = "internal"
    title: ClassVar[str] = "Basin could not do this"

    def __init__(
        self,
        detail: str,
        *,
        problems: list[SpecProblem] | None = None,
        extra: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.problems = problems or []
        self.extra = extra or {}
        self.headers = headers or {}


class NotAuthenticated(BasinError):
    """Nobody, or nobody known."""

    http_status = 401
    slug = "not-authenticated"
    title = "Not logged in"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, headers={"WWW-Authenticate": "Bearer"})


class NotAllowed(BasinError):
    """Somebody known, whose role does not cover it."""

    http_status = 403
    slug = "not-allowed"
    title = "Not allowed"


class NotFound(BasinError):
    """Not there, or not for this person to see."""

    http_status = 404
    slug = "not-found"
    title = "Not found"


class Conflict(BasinError):
    """The state of things does not allow it now."""

    http_status = 409
    slug = "conflict"
    title = "Conflict"


class AlreadyClaimed(Conflict):
    """Another process was first: exit."""

    slug = "already-claimed"
    title = "Already claimed"


class NotClaimable(Conflict):
    """The attempt is over, replaced, or its run is being cancelled: exit."""

    slug = "not-claimable"
    title = "Not claimable"


class ReportGap(Conflict):
    """Reports are missing before the first one sent; go on after `acknowledged`."""

    slug = "report-gap"
    title = "Reports are missing"

    def __init__(self, *, acknowledged: int, first: int) -> None:
        super().__init__(
            f"report {first} came where {acknowledged + 1} was expected: send from {acknowledged + 1} on",
            extra={"acknowledged": acknowledged},
        )
        self.acknowledged = acknowledged


class Invalid(BasinError):
    """Input that names what is wrong, field by field."""

    http_status = 422
    slug = "invalid"
    title = "The request has mistakes"

    @classmethod
    def because(cls, problems: list[SpecProblem]) -> Invalid:
        return cls("; ".join(problem.sentence() for problem in problems), problems=problems)


class IdempotencyMismatch(Invalid):
    """A used Idempotency-Key with another body."""

    slug = "idempotency-mismatch"
    title = "Idempotency-Key was used for another request"


class StorageNotShared(Invalid):
    """The trainer does not see the storage that the API sees."""

    slug = "storage-not-shared"
    title = "The storage is not shared"


class CheckpointsLost(Invalid):
    """No checkpoint that the run could go on from is on the storage any more."""

    slug = "checkpoints-lost"
    title = "The run's checkpoints are lost"


class TooLarge(BasinError):
    """A body over its limit."""

    http_status = 413
    slug = "too-large"
    title = "The request is too large"


class Unavailable(BasinError):
    """A part Basin needs does not answer; trying again later helps."""

    http_status = 503
    slug = "unavailable"
    title = "Temporarily unavailable"

    def __init__(self, detail: str, *, retry_after_seconds: int = 2) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after_seconds)})
