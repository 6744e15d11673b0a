"""Secrets and signatures in the form of Standard Webhooks (https://www.standardwebhooks.com), made by its library.

A secret is derived from BASIN_SECRET and a random value in the webhook's row, like every other credential of Basin: a
dump of the database signs nothing. Both are needed again for each message, so a hash would not do.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic import SecretStr
from standardwebhooks.webhooks import Webhook as Signer

PREFIX = "whsec_"


def new_nonce() -> str:
    return secrets.token_hex(16)


def secret_of(key: SecretStr, webhook_id: str, nonce: str) -> str:
    """`whsec_` and 32 bytes in base64: HMAC-SHA256 by BASIN_SECRET of the webhook's id and its nonce."""
    label = f"webhook\0{webhook_id}\0{nonce}"
    derived = hmac.new(key.get_secret_value().encode(), label.encode(), hashlib.sha256).digest()
    return PREFIX + base64.b64encode(derived).decode()


def body_of(kind: str, at: datetime, data: dict[str, Any]) -> bytes:
    """The payload: compact JSON, the same bytes in every attempt."""
    document = {"type": kind, "timestamp": at.astimezone(UTC).isoformat().replace("+00:00", "Z"), "data": data}
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


def signed_headers(message_id: str, body: bytes, keys: Sequence[str], *, now: datetime | None = None) -> dict[str, str]:
    """The three headers, with a signature for each valid secret. `now`: when this attempt is made."""
    moment = now or datetime.now(UTC)
    text = body.decode()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": " ".join(Signer(key).sign(message_id, moment, text) for key in keys),
    }
