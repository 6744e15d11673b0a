"""The Python client's part for whoever keeps an installation running: `client.operations.drain("host-a")`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any
from urllib.parse import quote

from cli.answers import read
from cli.views import View
from trainer.contract.findings import Finding


class DrainView(View):
    by: str
    reason: str = ""
    moves: bool = False
    at: datetime


class NodeView(View):
    """A machine of the cluster."""

    host: str
    cpus: int = 0
    gpus: int = 0
    alive: bool
    seen_at: datetime | None = None
    workers: int = 0
    runs: list[str] = []  # noqa: RUF012 - pydantic copies it
    drain: DrainView | None = None


class NodePage(View):
    items: list[NodeView]


class CollectableView(View):
    """What one kind would take."""

    kind: str
    what: str
    kept_days: float | None = None
    setting: str | None = None
    items: int
    bytes: int


class CollectionView(View):
    items: list[CollectableView]
    bytes: int
    storage_is_there: bool = True


class DiagnosisView(View):
    """How far a look at every part is."""

    id: str
    complete: bool
    findings: list[Finding]
    outstanding: list[str]


class Operations:
    """Requests; `ask` is the client's."""

    def __init__(self, ask: Callable[..., Any]) -> None:
        self._ask = ask

    def nodes(self) -> NodePage:
        return read(NodePage, self._ask("GET", "/nodes"))

    def drain(self, host: str, *, reason: str = "", move: bool = False) -> NodeView:
        """No new runs there; with `move` those on it go on elsewhere."""
        return read(NodeView, self._ask("PUT", f"{_path(host)}/drain", json={"reason": reason, "move": move}))

    def undrain(self, host: str) -> NodeView | None:
        """None where the machine is not known any more."""
        answer = self._ask("DELETE", f"{_path(host)}/drain")
        return None if answer is None else read(NodeView, answer)

    def collection(self) -> CollectionView:
        """What would be collected now."""
        return read(CollectionView, self._ask("GET", "/collection"))

    def collect(self) -> CollectionView:
        """Has the Celery worker collect; returns what will go."""
        return read(CollectionView, self._ask("POST", "/collection"))

    def begin_diagnosis(self) -> DiagnosisView:
        return read(DiagnosisView, self._ask("POST", "/doctor"))

    def diagnosis(self, diagnosis_id: str) -> DiagnosisView:
        return read(DiagnosisView, self._ask("GET", f"/doctor/{quote(diagnosis_id, safe='')}"))


def _path(host: str) -> str:
    return f"/nodes/{quote(host, safe='')}"
