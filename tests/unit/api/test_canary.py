"""The API's canaries carry their own time, so that one that comes late still tells how long it was under way."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast

from sqlalchemy import Engine

from api.dispatch import Dispatcher
from api.runs.canary import API, TASK, CanarySender


class Database:
    """Has one row to send, once."""

    def __init__(self, row: object) -> None:
        self.row: object | None = row

    @contextmanager
    def begin(self) -> Iterator[Any]:
        row, self.row = self.row, None
        yield SimpleNamespace(execute=lambda *_: SimpleNamespace(one_or_none=lambda: row))


def test_a_canary_carries_its_number_and_when_it_was_sent() -> None:
    sent: list[Sequence[Any]] = []
    database = Database(SimpleNamespace(number=7, sent_at=1_700_000_000.5))
    sender = CanarySender(cast(Engine, database), cast(Dispatcher, SimpleNamespace(send=sent.extend)))
    sender.look()
    sender._looks_again_at = 0.0
    sender.look()
    assert sent == [(TASK, (API, 7, 1_700_000_000.5))]
