"""The API process: `create_app(settings)`. Importing this module reads no environment and opens nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from fastapi.concurrency import run_in_threadpool

from api.db.engine import make_engine
from api.routes import (
    attempts,
    collection,
    data,
    doctor,
    health,
    lifecycle,
    metrics,
    nodes,
    problems,
    runs,
    scrape,
    session,
    stream,
    users,
    webhooks,
)
from api.routes.body_limits import BodyLimits
from api.routes.dashboard import serve_dashboard
from api.routes.dependencies import Services
from api.routes.description import complete_schema
from api.routes.feed import Feed
from api.routes.requests import Requests
from api.routes.security_headers import SecurityHeaders
from api.routes.tracing import telemetry_config
from api.runs.abandoned_uploads import AbandonedUploads
from api.runs.canary import CanarySender
from api.runs.live import LiveOutbox
from api.runs.overdue import Overdue
from api.runs.readings import readings_probe
from api.runs.service_clock import Ticker
from api.runs.storage import settle_proof
from api.runs.storage_state import storage_probe
from api.settings import Settings, settings_or_exit
from api.telemetry.logs import configure_logs
from api.telemetry.traces import start_tracing, stop_tracing

PREFIX = "/api/v1"
SERVICE = "basin-api"
QUIET = ("httpx",)
"""Loggers that say something with every request."""
DESCRIPTION = """Basin trains vision models that generalise, as a service.

Every error is `application/problem+json`: `detail` is a sentence for a person, `errors` names each field at fault with
its value, what is allowed, and what to do."""


def create_app(settings: Settings) -> FastAPI:
    """The application; a database or broker that is away is waited for while it runs, not here."""
    engine = make_engine(settings, application="basin-api")
    services = Services(
        settings=settings,
        engine=engine,
        outbox=LiveOutbox(settings),
        feed=Feed(engine, settings.broker_url),
        readings=readings_probe(engine),
        storage=storage_probe(settings.storage),
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await run_in_threadpool(settle_proof, engine, settings.storage)
        dispatcher = services.outbox.dispatcher
        looks = (Overdue(engine, dispatcher, settings).look, CanarySender(engine, dispatcher).look)
        ticker = Ticker(engine, also=looks)
        ticker.start()
        uploads = AbandonedUploads(settings)
        uploads.start()
        async with services.feed.running():
            yield
        await run_in_threadpool(ticker.stop)
        await run_in_threadpool(uploads.stop)
        services.outbox.close()
        services.engine.dispose()
        await run_in_threadpool(stop_tracing)

    app = _bare_app(lifespan=lifespan)
    app.state.services = services
    serve_dashboard(app, settings.dashboard)
    return app


def create_app_from_environment() -> FastAPI:
    """For `uvicorn --factory`."""
    settings = settings_or_exit()
    configure_logs(settings.log_format, service=SERVICE, quiet=QUIET)
    start_tracing(SERVICE)
    return create_app(settings)


def openapi_document() -> dict[str, Any]:
    """The API's description; needs no settings."""
    return _bare_app().openapi()


def _bare_app(**arguments: Any) -> FastAPI:
    """Routes, middleware and error answers, without services."""
    # Swagger's pages load scripts from elsewhere, which the dashboard's policy forbids; the document itself stays.
    app = FastAPI(
        title="Basin",
        version=version("basin"),
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=lambda route: route.name,
        telemetry=telemetry_config(),
        **arguments,
    )
    for part in (runs, lifecycle, metrics, attempts, stream, session, users, webhooks, nodes, doctor, collection, data):
        app.include_router(part.router, prefix=PREFIX)
    app.include_router(runs.studies, prefix=PREFIX)
    app.include_router(health.router)
    app.include_router(health.router, prefix=PREFIX, include_in_schema=False)
    app.include_router(scrape.router)
    problems.install(app)
    app.add_middleware(BodyLimits)
    app.add_middleware(SecurityHeaders)
    app.add_middleware(Requests)
    complete_schema(app)
    return app
