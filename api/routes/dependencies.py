"""What routes ask for: a session that commits before the answer leaves, the caller, the services of the process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import Depends, Request, Security
from fastapi.security import APIKeyCookie, HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy import Engine
from sqlalchemy.orm import Session

from api.db.engine import transaction
from api.db.tables import Run
from api.errors import NotAllowed
from api.routes.feed import Feed
from api.runs.access import Caller, caller_of, run_for
from api.runs.live import LiveOutbox
from api.runs.probe import Probe
from api.runs.readings import Readings
from api.runs.storage_state import StorageState
from api.settings import Settings

COOKIE = "basin_session"

bearer_scheme = HTTPBearer(
    auto_error=False, description="A user's token; for attempts, a launch code or attempt token."
)
cookie_scheme = APIKeyCookie(name=COOKIE, auto_error=False, description="Set by POST /api/v1/session.")
Bearer = Annotated[HTTPAuthorizationCredentials | None, Security(bearer_scheme)]
Cookie = Annotated[str | None, Security(cookie_scheme)]


@dataclass(frozen=True, kw_only=True)
class Services:
    """What the API process holds; in `app.state.services`."""

    settings: Settings
    engine: Engine
    outbox: LiveOutbox
    feed: Feed
    readings: Probe[Readings]
    storage: Probe[StorageState]


def services_of(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


ServicesDep = Annotated[Services, Depends(services_of)]


def get_session(services: ServicesDep) -> Iterator[Session]:
    with transaction(services.engine, services.outbox) as session:
        yield session


# With FastAPI's default scope the code after `yield` runs after the response: the answer would leave before the commit.
SessionDep = Annotated[Session, Depends(get_session, scope="function")]


def get_caller(request: Request, services: ServicesDep, session: SessionDep, bearer: Bearer, cookie: Cookie) -> Caller:
    return _caller(request, services, session, bearer, cookie)


def get_detached_caller(request: Request, services: ServicesDep, bearer: Bearer, cookie: Cookie) -> Caller:
    """The caller by a session of its own that is closed before the route runs: for streams and series of commits."""
    with transaction(services.engine, services.outbox) as session:
        return _caller(request, services, session, bearer, cookie)


CallerDep = Annotated[Caller, Depends(get_caller)]
DetachedCallerDep = Annotated[Caller, Depends(get_detached_caller)]


def get_run(run_id: str, session: SessionDep, caller: CallerDep) -> Run:
    return run_for(session, caller, run_id)


RunDep = Annotated[Run, Depends(get_run)]


def must_come_from_our_page(request: Request) -> None:
    """Refuses what another page makes a browser send with its cookie.

    SameSite=Strict does not tell ports apart, so any other server on this host counts as the same site.
    """
    if request.method in ("GET", "HEAD"):
        return
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    ours = site in ("same-origin", "none") if site else not origin or urlsplit(origin).netloc == request.url.netloc
    if not ours:
        raise NotAllowed("a page of another site sent this with your login: use the dashboard, or a bearer token")


def _caller(
    request: Request,
    services: Services,
    session: Session,
    bearer: HTTPAuthorizationCredentials | None,
    cookie: str | None,
) -> Caller:
    token = bearer.credentials if bearer else None
    if token is None:
        must_come_from_our_page(request)
    return caller_of(session, services.settings.secret, bearer=token, cookie=cookie)
