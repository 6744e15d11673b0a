"""What a machine that trains has to do with the control plane: the API's address, the time, one version of Ray."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import httpx

from trainer.contract.build import SOURCE, installed
from trainer.contract.clocks import judge_date, now
from trainer.contract.findings import Found, failed, ok, warning

ANSWER_SECONDS = 8.0
LOCKS = ("trainer.lock", "dev.lock")
"""In `requirements/`: the first that is there counts."""
LOCKED = ("torch", "torchvision", "timm", "ray")


class Api:
    """One answer of the API's /healthz, asked for once."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    @cache  # noqa: B019 - as short-lived as the process
    def ask(self) -> tuple[httpx.Response, float, float]:
        """The answer, and our time before and after. Raises httpx.HTTPError."""
        asked_at = now()
        answer = httpx.get(f"{self.url}/healthz", timeout=ANSWER_SECONDS, trust_env=False)
        return answer, asked_at, now()

    def health(self) -> dict[str, Any]:
        """Raises httpx.HTTPError, ValueError where something else answers."""
        answer, _, _ = self.ask()
        answer.raise_for_status()
        document: dict[str, Any] = answer.json()
        if document.get("status") != "ok":
            raise ValueError(f"{self.url} is not Basin's API")
        return document


def reachable(api: Api) -> Found:
    try:
        api.health()
    except (httpx.HTTPError, ValueError) as error:
        return failed(
            f"{api.url} does not answer ({type(error).__name__}: {str(error)[:200]})",
            needed="the API, which every trainer reports to",
            remedy="Set BASIN_TRAINER_API_URL to an address that this machine reaches, and let its firewall pass it",
        )
    return ok(f"{api.url} answers")


def clock(api: Api) -> Found:
    answer, asked_at, answered_at = api.ask()
    return judge_date(answer.headers.get("date"), asked_at=asked_at, answered_at=answered_at)


def ray_version(head: str | None) -> Found:
    """Ray refuses nodes of another version only when they join anew."""
    here = installed("ray")
    if head is not None and here != head:
        return failed(
            f"ray {here} here, {head} at the head",
            needed="one version of Ray in the cluster",
            remedy="Start head and nodes from one image",
        )
    return ok(f"ray {here}" + (", as the head" if head else ""))


def locked_versions(folder: Path = SOURCE / "requirements") -> Found:
    """Against the lock file that this source brings along."""
    lock = next((folder / name for name in LOCKS if (folder / name).is_file()), None)
    if lock is None:
        return ok("no lock file is beside this installation, so nothing to compare")
    wanted = dict(
        line.split(" ")[0].split("==")[:2]
        for line in lock.read_text(encoding="utf-8").splitlines()
        if "==" in line and not line.startswith((" ", "#"))
    )
    # A local part such as +cu130 says how it was built, not which version it is.
    apart = [
        f"{name} {here} and not {wanted[name]}"
        for name in LOCKED
        if name in wanted and (here := installed(name)) is not None and here.partition("+")[0] != wanted[name]
    ]
    if apart:
        return warning(
            ", ".join(apart),
            needed=f"what {lock.name} says, with which Basin was tested",
            remedy="Install from the lock file, or build the image anew",
        )
    return ok(f"{', '.join(name for name in LOCKED if name in wanted)} as in {lock.name}")
