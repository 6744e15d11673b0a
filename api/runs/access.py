"""Who is asking and what they may see and do: roles admin, member, viewer; runs private or for the team."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import cast

from pydantic import SecretStr
from sqlalchemy import ColumnElement, and_, func, or_, select, true, update
from sqlalchemy.orm import Session

from api.db.tables import Run, Token, User
from api.errors import NotAllowed, NotAuthenticated, NotFound
from api.runs.credentials import sha256_of, token_id_of
from api.runs.schemas import Role

LAST_USED_STEP = timedelta(minutes=1)
"""`tokens.last_used_at` is written at most so often: a read should not be a write each time."""


@dataclass(frozen=True, kw_only=True)
class Caller:
    """A person behind a request."""

    user_id: int
    token_id: int
    name: str
    role: Role

    @property
    def actor(self) -> str:
        """How events name them."""
        return f"user:{self.name}"

    @property
    def may_submit(self) -> bool:
        return self.role in ("admin", "member")

    def may_see(self, *, user_id: int, visibility: str) -> bool:
        return self.role == "admin" or visibility == "team" or user_id == self.user_id


def caller_of(session: Session, secret: SecretStr, *, bearer: str | None, cookie: str | None) -> Caller:
    """The caller by bearer token, else by login cookie. Raises NotAuthenticated."""
    if bearer is not None:
        found = Token.token_sha256 == sha256_of(bearer)
    elif cookie is not None:
        token_id = token_id_of(secret, cookie)
        if token_id is None:
            raise NotAuthenticated("the login is over: open the link that `basin up` prints, or log in with a token")
        found = Token.id == token_id
    else:
        raise NotAuthenticated("a token is needed: send it as `Authorization: Bearer TOKEN`, or log in")
    alive = or_(Token.expires_at.is_(None), Token.expires_at > func.now())
    row = session.execute(
        select(Token.id, User.id, User.name, User.role).join(User, User.id == Token.user_id).where(found, alive)
    ).one_or_none()
    if row is None:
        raise NotAuthenticated("the token is unknown or expired: check it, or ask an admin for a new one")
    token_id, user_id, name, role = row
    _note_use(session, token_id)
    return Caller(user_id=user_id, token_id=token_id, name=name, role=cast(Role, role))


def _note_use(session: Session, token_id: int) -> None:
    """Now and then. A request that notes it at this moment is not waited for: its transaction may take its time."""
    stale = or_(Token.last_used_at.is_(None), Token.last_used_at < func.now() - LAST_USED_STEP)
    due = select(Token.id).where(Token.id == token_id, stale).with_for_update(skip_locked=True)
    session.execute(update(Token).where(Token.id.in_(due.scalar_subquery())).values(last_used_at=func.now()))


def visible_to(caller: Caller) -> ColumnElement[bool]:
    """The condition on `runs` that a caller's queries carry: theirs to see, and not deleted."""
    return and_(Run.deleted_at.is_(None), _allowed_to(caller))


def deleted_visible_to(caller: Caller) -> ColumnElement[bool]:
    """The same for runs that are deleted and can be restored still."""
    return and_(Run.deleted_at.is_not(None), Run.purged_at.is_(None), _allowed_to(caller))


def _allowed_to(caller: Caller) -> ColumnElement[bool]:
    if caller.role == "admin":
        return true()
    return or_(Run.visibility == "team", Run.user_id == caller.user_id)


def run_for(session: Session, caller: Caller, run_id: str, *, lock: bool = False, deleted: bool = False) -> Run:
    """The run, if there is one that the caller may see; else NotFound, so that private ids do not leak.

    `deleted`: one that is deleted and can be restored, in place of one that is not.
    """
    query = select(Run).where(Run.id == run_id, deleted_visible_to(caller) if deleted else visible_to(caller))
    if lock:
        query = query.with_for_update(key_share=True)
    run = session.execute(query).scalar_one_or_none()
    if run is None:
        which = "deleted run" if deleted else "run"
        option = " --deleted" if deleted else ""
        raise NotFound(
            f"there is no {which} {run_id!r} that you may see: `basin run list{option}` shows those there are"
        )
    return run


def must_submit(caller: Caller) -> None:
    if not caller.may_submit:
        raise NotAllowed(f"your role is {caller.role}: only members and admins submit runs; ask an admin")


def must_own(caller: Caller, run: Run, act: str) -> None:
    """Owners and admins `act` on a run ("cancel", "edit"); viewers on none."""
    if caller.role == "admin" or (caller.role == "member" and run.user_id == caller.user_id):
        return
    if caller.role == "viewer":
        raise NotAllowed(f"your role is viewer: only members and admins {act} runs; ask an admin")
    raise NotAllowed(f"your role is {caller.role} and the run is not yours: its owner and admins {act} it")
