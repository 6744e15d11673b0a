"""Logging the browser in: a token is exchanged for a cookie that scripts cannot read."""

from __future__ import annotations

from importlib.metadata import version

from fastapi import APIRouter, Depends, Response

from api.errors import NotAuthenticated
from api.routes.dependencies import COOKIE, Bearer, CallerDep, ServicesDep, SessionDep, must_come_from_our_page
from api.routes.problems import PROBLEMS
from api.runs import schemas
from api.runs.access import Caller, caller_of
from api.runs.credentials import SESSION_LIFE_SECONDS, session_cookie

router = APIRouter(tags=["session"], responses=PROBLEMS)


@router.post("/session", summary="Log in", dependencies=[Depends(must_come_from_our_page)])
def log_in(response: Response, services: ServicesDep, session: SessionDep, bearer: Bearer) -> schemas.Me:
    """With a user's token as bearer; sets the cookie for a week."""
    if bearer is None:
        raise NotAuthenticated("a token is needed: send it as `Authorization: Bearer TOKEN`")
    caller = caller_of(session, services.settings.secret, bearer=bearer.credentials, cookie=None)
    response.set_cookie(
        COOKIE,
        session_cookie(services.settings.secret, caller.token_id),
        max_age=SESSION_LIFE_SECONDS,
        httponly=True,
        samesite="strict",
        secure=not services.settings.loopback,
        path="/",
    )
    return _me(caller)


@router.delete("/session", status_code=204, summary="Log out", dependencies=[Depends(must_come_from_our_page)])
def log_out(response: Response, services: ServicesDep) -> None:
    response.delete_cookie(COOKIE, httponly=True, samesite="strict", secure=not services.settings.loopback, path="/")


@router.get("/me", summary="Who am I?")
def get_me(caller: CallerDep) -> schemas.Me:
    return _me(caller)


def _me(caller: Caller) -> schemas.Me:
    return schemas.Me(
        name=caller.name,
        role=caller.role,
        may_submit=caller.may_submit,
        may_cancel_all=caller.role == "admin",
        version=version("basin"),
    )
