"""What a check of an installation found, and checks that cannot hang whoever runs them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from pydantic import BaseModel, ConfigDict


class Verdict(StrEnum):
    ok = "ok"
    warning = "warning"
    """Runs can be trained, but something is not as it should be."""
    failed = "failed"


class Found(BaseModel):
    """What a look came to."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)

    verdict: Verdict
    found: str
    """What is there."""
    needed: str = ""
    """What should be there; empty where all is well."""
    remedy: str = ""
    """What to do; empty where all is well."""


class Finding(Found):
    """A check of one part of the installation."""

    part: str
    """"api", "celery worker", "node host-a", "this machine"."""
    check: str
    """What was looked at: "broker policy", "shared memory"."""

    @property
    def sentence(self) -> str:
        more = f"; needed: {self.needed}. {self.remedy}" if self.verdict is not Verdict.ok else ""
        return f"{self.part}: {self.check}: {self.verdict.value}: {self.found}{more}"


def ok(found: str) -> Found:
    return Found(verdict=Verdict.ok, found=found)


def warning(found: str, *, needed: str, remedy: str) -> Found:
    return Found(verdict=Verdict.warning, found=found, needed=needed, remedy=remedy)


def failed(found: str, *, needed: str, remedy: str) -> Found:
    return Found(verdict=Verdict.failed, found=found, needed=needed, remedy=remedy)


@dataclass(frozen=True, kw_only=True)
class Check:
    """A look with a time-out of its own."""

    name: str
    look: Callable[[], Found]
    """May raise anything: that is a failure of the check."""
    seconds: float = 10.0
    if_it_hangs: str = "Look at the part's log; a folder of the network that is away hangs like this"
    """The remedy where there is no answer in time."""
    if_it_breaks: str = "Mend what the error names"
    """The remedy where the look itself fails."""


def run_checks(part: str, checks: Iterable[Check]) -> list[Finding]:
    """One after the other. One that hangs is left behind in its thread, which does not keep the process alive."""
    return [Finding(part=part, check=check.name, **_outcome(check).model_dump()) for check in checks]


def worst(findings: Sequence[Found]) -> Verdict:
    """Of no findings: ok."""
    found = {finding.verdict for finding in findings}
    return next((verdict for verdict in (Verdict.failed, Verdict.warning) if verdict in found), Verdict.ok)


def _outcome(check: Check) -> Found:
    outcomes: list[Found] = []

    def look() -> None:
        try:
            outcomes.append(check.look())
        except Exception as error:
            first = str(error).strip().partition("\n")[0][:300]
            outcomes.append(
                failed(
                    f"could not be checked ({type(error).__name__}: {first})",
                    needed="an answer",
                    remedy=check.if_it_breaks,
                )
            )

    thread = threading.Thread(target=look, name=f"check {check.name}", daemon=True)
    thread.start()
    thread.join(check.seconds)
    if outcomes:
        return outcomes[0]
    return failed(
        f"no answer within {check.seconds:g} s",
        needed=f"an answer within {check.seconds:g} s",
        remedy=check.if_it_hangs,
    )
