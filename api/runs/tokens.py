"""Users and their tokens, by whoever may reach the database.

`python -m api.runs.tokens ensure --user NAME --role ROLE --token-file FILE`: a user whose token is in a file. Run it as
often as you like: the user and the token are made when missing, the role is set, and the file is made with a random
token, readable by its owner only, when it is not there.

`python -m api.runs.tokens issue --user NAME --role ROLE`: a new token, printed once and kept only as its hash.
"""

from __future__ import annotations

import argparse
import os
import re
import secrets
import sys
from pathlib import Path
from typing import get_args

from sqlalchemy import Engine, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import OperationalError, ProgrammingError
from sqlalchemy.orm import Session

from api.db.engine import make_engine
from api.db.tables import Token, User
from api.runs.credentials import sha256_of
from api.runs.schemas import Role
from api.settings import settings_or_exit

MIN_TOKEN_LENGTH = 32
USER_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


def new_token() -> str:
    return f"basin_{secrets.token_urlsafe(32)}"


def ensure(engine: Engine, *, user: str, role: Role, token: str, label: str = "token file") -> None:
    """Makes the user with this role and this token; commits. Raises ValueError if the token is somebody else's."""
    with Session(engine) as session, session.begin():
        session.execute(
            insert(User)
            .values(name=user, role=role)
            .on_conflict_do_update(index_elements=[User.name], set_={"role": role})
        )
        user_id = session.execute(select(User.id).where(User.name == user)).scalar_one()
        session.execute(
            insert(Token)
            .values(user_id=user_id, token_sha256=sha256_of(token), label=label)
            .on_conflict_do_nothing(index_elements=[Token.token_sha256])
        )
        owner = session.execute(select(Token.user_id).where(Token.token_sha256 == sha256_of(token))).scalar_one()
        if owner != user_id:
            raise ValueError(f"the token belongs to another user than {user!r}: give another --token-file")


def token_in(file: Path) -> str:
    """The token in `file`, which is made 0600 with a random one when missing. Raises ValueError if it is too short."""
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        token = file.read_text(encoding="ascii").strip()
        if len(token) < MIN_TOKEN_LENGTH:
            raise ValueError(
                f"{file} holds a token of {len(token)} characters, at least {MIN_TOKEN_LENGTH} are needed: delete the"
                " file for a new one"
            ) from None
        return token
    token = new_token()
    with os.fdopen(descriptor, "w", encoding="ascii") as output:
        output.write(token + "\n")
    return token


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m api.runs.tokens", description=__doc__)
    commands = parser.add_subparsers(required=True)
    ensured = commands.add_parser("ensure", help="make a user and a token when missing")
    ensured.add_argument("--token-file", required=True, type=Path, help="where the token is, or shall be")
    issued = commands.add_parser("issue", help="make a user when missing, and print a new token, once")
    issued.set_defaults(token_file=None)
    for command in (ensured, issued):
        command.add_argument("--user", required=True, help="the user's name")
        command.add_argument("--role", required=True, choices=get_args(Role))
    given = parser.parse_args(arguments)
    if not USER_NAME.fullmatch(given.user):
        parser.error(f"--user {given.user!r}: must be up to 64 letters, digits, '.', '_', '@' or '-'")
    engine = make_engine(settings_or_exit(), application="basin-tokens")
    try:
        if given.token_file is not None:
            ensure(engine, user=given.user, role=given.role, token=token_in(given.token_file))
        else:
            token = new_token()
            ensure(engine, user=given.user, role=given.role, token=token, label="issued")
            print(token)
    except (ValueError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except (OperationalError, ProgrammingError) as error:
        sys.stderr.write(f"The database is not ready ({str(error.orig).strip()}): run `python -m api.db.migrate`\n")
        return 1
    finally:
        engine.dispose()
    return 0


if __name__ == "__main__":
    sys.exit(main())
