"""Who may read `/metrics`."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest
from pydantic import SecretStr
from starlette.requests import Request

from api.errors import NotAllowed, NotAuthenticated
from api.routes.scrape import must_be_let_in
from api.settings import Settings

TOKEN = "a-token-of-the-tests-for-prometheus"


def asking(client: str, **headers: str) -> Request:
    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "client": (client, 50_000), "headers": raw})


def settings(*, loopback: bool, token: str | None = None) -> Settings:
    return cast(Settings, SimpleNamespace(loopback=loopback, metrics_token=SecretStr(token) if token else None))


@pytest.mark.parametrize("client", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "172.18.0.4"])
def test_on_loopback_a_neighbour_needs_no_token(client: str) -> None:
    must_be_let_in(asking(client), settings(loopback=True), None)


@pytest.mark.parametrize(("client", "headers"), [("127.0.0.1", {"Via": "1.1 proxy"}), ("93.184.216.34", {}), ("", {})])
def test_on_loopback_whoever_comes_from_elsewhere_is_told_what_to_do(client: str, headers: dict[str, str]) -> None:
    with pytest.raises(NotAllowed, match="set BASIN_METRICS_TOKEN"):
        must_be_let_in(asking(client, **headers), settings(loopback=True), None)


@pytest.mark.parametrize("client", ["127.0.0.1", "172.18.0.4", "93.184.216.34"])
def test_a_deployment_without_a_token_answers_nobody(client: str) -> None:
    """A plain proxy adds no header: it looks like the neighbour that Prometheus is."""
    with pytest.raises(NotAllowed, match="set BASIN_METRICS_TOKEN"):
        must_be_let_in(asking(client), settings(loopback=False), None)


@pytest.mark.parametrize("loopback", [True, False])
def test_the_token_lets_in_whoever_sends_it(*, loopback: bool) -> None:
    wanted = settings(loopback=loopback, token=TOKEN)
    must_be_let_in(asking("93.184.216.34", Via="1.1 proxy"), wanted, TOKEN)
    for sent in (None, "", "another", "schlüssel"):
        with pytest.raises(NotAuthenticated, match="BASIN_METRICS_TOKEN"):
            must_be_let_in(asking("127.0.0.1"), wanted, sent)
