"""Launch codes, attempt tokens and login cookies: all derived from BASIN_SECRET, so nothing secret need be stored.

A launch code can only claim; an attempt token can only report, for that attempt. Each kind has its own label in the
HMAC, so that one can never serve as the other.
"""

from __future__ import annotations

import hashlib
import hmac
import time

from pydantic import SecretStr

SESSION_LIFE_SECONDS = 7 * 24 * 3600


def launch_code(secret: SecretStr, attempt_id: str) -> str:
    """What the Ray job of an attempt shows to claim it: HMAC-SHA256 of the attempt id."""
    return _hmac(secret, attempt_id)


def attempt_token(secret: SecretStr, attempt_id: str, process_id: str) -> str:
    """The token of the process that claimed; the same for the same process, since its answer may be lost."""
    return "attempt_" + _hmac(secret, f"attempt-token\0{attempt_id}\0{process_id}")


def sha256_of(token: str) -> str:
    """How tokens are stored: they are random with 256 bits, so no slow hash is needed."""
    return hashlib.sha256(token.encode()).hexdigest()


def same(a: str, b: str) -> bool:
    """Compares in constant time."""
    return hmac.compare_digest(a.encode(), b.encode())


def session_cookie(secret: SecretStr, token_id: int) -> str:
    """Value of the login cookie: stands for a row of `tokens`, so that deleting the row logs out."""
    expires = int(time.time()) + SESSION_LIFE_SECONDS
    return f"{token_id}.{expires}.{_session_mac(secret, token_id, expires)}"


def token_id_of(secret: SecretStr, cookie: str) -> int | None:
    """The token's id that a cookie stands for; null if it was not made here or is over."""
    try:
        token_id, expires, mac = cookie.split(".")
        numbers = int(token_id), int(expires)
    except ValueError:
        return None
    if not same(mac, _session_mac(secret, *numbers)) or numbers[1] < time.time():
        return None
    return numbers[0]


def _session_mac(secret: SecretStr, token_id: int, expires: int) -> str:
    return _hmac(secret, f"session\0{token_id}\0{expires}")


def _hmac(secret: SecretStr, text: str) -> str:
    return hmac.new(secret.get_secret_value().encode(), text.encode(), hashlib.sha256).hexdigest()
