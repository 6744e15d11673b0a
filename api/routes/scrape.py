"""GET /metrics for Prometheus. It names users' runs and hosts, so not everybody is answered.

With BASIN_METRICS_TOKEN: whoever sends it as bearer token. Without: on loopback (BASIN_LOOPBACK) callers from private
and loopback addresses, unless a proxy says that it asks for somebody else; anywhere else nobody, since a proxy need not
say so.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Iterable
from importlib.metadata import version
from ipaddress import ip_address

import structlog
from fastapi import APIRouter, Request
from fastapi.responses import Response
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import QueuePool

from api.errors import NotAllowed, NotAuthenticated
from api.routes.dependencies import Bearer, Services, services_of
from api.runs.probe import Answer, Probe
from api.runs.readings import Readings
from api.runs.storage_state import StorageState
from api.settings import Settings
from api.telemetry import families

log = structlog.get_logger()

router = APIRouter()

PROXY_HEADERS = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via")


# Nothing here is a plain `def`, dependencies neither: threads that all wait for a database would leave none for this.
@router.get("/metrics", include_in_schema=False)
async def scrape(request: Request, bearer: Bearer) -> Response:
    services = services_of(request)
    must_be_let_in(request, services.settings, bearer.credentials if bearer else None)
    services.storage.ask()  # Beside the rows, not after them.
    readings = await _asked(services.readings)
    storage = await _asked(services.storage)
    registry = CollectorRegistry()
    for collector in (
        *families.PROCESS,
        _Told([*_held(services), *_of_rows(readings), *_of_storage(storage, readings)]),
    ):
        registry.register(collector)
    encode, content_type = choose_encoder(request.headers.get("accept", ""))
    return Response(encode(registry), media_type=content_type)


def must_be_let_in(request: Request, settings: Settings, token: str | None) -> None:
    """Raises NotAuthenticated or NotAllowed."""
    if (wanted := settings.metrics_token) is not None:
        if token is None or not hmac.compare_digest(token.encode(), wanted.get_secret_value().encode()):
            raise NotAuthenticated("/metrics needs the token of BASIN_METRICS_TOKEN: send it as bearer token")
        return
    if not settings.loopback:
        raise NotAllowed(
            "/metrics answers nobody without a token where Basin serves more than loopback: set BASIN_METRICS_TOKEN"
            " (`openssl rand -hex 24`) for the API and send it as bearer token"
        )
    if any(name in request.headers for name in PROXY_HEADERS) or not _is_private(request):
        raise NotAllowed(
            "/metrics answers callers from private addresses who come without a proxy: ask from there, or set"
            " BASIN_METRICS_TOKEN and send it as bearer token"
        )


def _is_private(request: Request) -> bool:
    try:
        address = ip_address(request.client.host if request.client else "")
    except ValueError:
        return False
    address = getattr(address, "ipv4_mapped", None) or address
    return address.is_private or address.is_loopback


async def _asked(probe: Probe[Answer]) -> Answer | None:
    """Its answer, or null where there is none in time."""
    try:
        async with asyncio.timeout(probe.patience_seconds):
            return await asyncio.shield(asyncio.wrap_future(probe.ask()))
    except (TimeoutError, SQLAlchemyError, OSError) as error:
        log.warning("scraped_without", error=f"{type(error).__name__}: {error}".splitlines()[0])
        return None


class _Told(Collector):
    """Families that were made for this scrape."""

    def __init__(self, made: Iterable[Metric]) -> None:
        self._made = list(made)

    def collect(self) -> Iterable[Metric]:
        return self._made


def _held(services: Services) -> Iterable[Metric]:
    yield families.BUILD_INFO.of([((version("basin"),), 1.0)])
    yield families.STREAM_CLIENTS.one(services.feed.clients)
    pool = services.engine.pool
    assert isinstance(pool, QueuePool), "`make_engine` makes no other"
    yield families.POOL_CONNECTIONS.of([(("in_use",), pool.checkedout()), (("idle",), pool.checkedin())])
    yield families.POOL_LIMIT.one(pool.size() + pool._max_overflow)


def _of_rows(readings: Readings | None) -> Iterable[Metric]:
    yield families.DATABASE_UP.one(0.0 if readings is None else 1.0)
    if readings is not None:
        yield from readings.families


def _of_storage(state: StorageState | None, readings: Readings | None) -> Iterable[Metric]:
    kept = None if readings is None else readings.storage_proof
    works = state is not None and state.write_error is None and state.proof is not None and kept in (None, state.proof)
    yield families.STORAGE_UP.one(float(works))
    if state is not None:
        yield families.STORAGE_FREE.one(state.free_bytes)
        yield families.STORAGE_SIZE.one(state.size_bytes)
