"""Webhooks without a database: back-off, signatures, what moves mean, and one request to a receiver."""

from __future__ import annotations

import base64
import json
import socket
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from api.runs.status import MOVES, RunStatus
from api.runs.webhooks import sending
from api.runs.webhooks.addresses import PrivateHosts
from api.runs.webhooks.back_off import DELAYS_SECONDS, MAX_ATTEMPTS, delay_seconds
from api.runs.webhooks.delivering import Taken, send_taken
from api.runs.webhooks.notices import EventType, event_of
from api.runs.webhooks.sending import EXCERPT_BYTES, Outcome, send
from api.runs.webhooks.signing import body_of, new_nonce, secret_of, signed_headers
from api.settings import Settings
from tests.integration.api.receiver import Answer, Receiver

KEY = SecretStr("k" * 32)
LOCAL = PrivateHosts.parsed(["127.0.0.1"])


class TestBackOff:
    def test_the_schedule_is_that_of_standard_webhooks(self) -> None:
        told = [delay_seconds(number, 0) for number in range(1, MAX_ATTEMPTS + 1)]
        assert told == [5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400, None]

    @given(st.integers(1, len(DELAYS_SECONDS)), st.floats(0, 1))
    def test_chance_makes_a_delay_longer_by_a_tenth_at_most(self, failures: int, fraction: float) -> None:
        delay = delay_seconds(failures, fraction)
        assert delay is not None
        assert DELAYS_SECONDS[failures - 1] <= delay <= 1.1 * DELAYS_SECONDS[failures - 1]

    def test_each_delay_is_longer_than_the_one_before_whatever_chance_says(self) -> None:
        assert all(1.1 * shorter < longer for shorter, longer in pairwise(DELAYS_SECONDS))

    @pytest.mark.parametrize(("asked", "told"), [(None, 5), (0, 5), (3, 5), (60, 60), (10**7, 86400)])
    def test_a_receiver_may_ask_for_a_longer_wait(self, asked: int | None, told: float) -> None:
        assert delay_seconds(1, 0, asked) == told


class TestSigning:
    def test_the_library_of_the_receivers_verifies_what_is_signed(self) -> None:
        secret = secret_of(KEY, "w1", new_nonce())
        body = body_of("run.failed", datetime(2026, 1, 1, tzinfo=UTC), {"name": "ü — ☃"})
        headers = signed_headers("msg_1", body, [secret])
        told = Webhook(secret).verify(body, headers)
        assert told == {"type": "run.failed", "timestamp": "2026-01-01T00:00:00Z", "data": {"name": "ü — ☃"}}
        with pytest.raises(WebhookVerificationError):
            Webhook(secret).verify(body + b" ", headers)
        with pytest.raises(WebhookVerificationError):
            Webhook(secret).verify(body, {**headers, "webhook-id": "msg_2"})

    def test_after_a_rotation_both_secrets_verify(self) -> None:
        new, old, other = (secret_of(KEY, "w1", new_nonce()) for _ in range(3))
        body = body_of("run.failed", datetime.now(UTC), {})
        headers = signed_headers("msg_1", body, [new, old])
        assert len(headers["webhook-signature"].split()) == 2
        for secret in (new, old):
            Webhook(secret).verify(body, headers)
        with pytest.raises(WebhookVerificationError):
            Webhook(other).verify(body, headers)

    def test_a_secret_is_of_its_webhook_its_nonce_and_our_key_and_has_256_bits(self) -> None:
        nonce = new_nonce()
        secrets = {
            secret_of(KEY, "w1", nonce),
            secret_of(KEY, "w2", nonce),
            secret_of(KEY, "w1", new_nonce()),
            secret_of(SecretStr("j" * 32), "w1", nonce),
        }
        assert len(secrets) == 4
        for secret in secrets:
            assert secret.startswith("whsec_")
            assert len(base64.b64decode(secret.removeprefix("whsec_"))) == 32
        assert secret_of(KEY, "w1", nonce) in secrets


class TestEvents:
    def test_each_move_is_told_as_one_type_or_as_none(self) -> None:
        told = {(a, b): event_of(a, b) for a, targets in MOVES.items() for b in targets}
        assert {move: kind for move, kind in told.items() if move[1] == "queued"} == {
            (RunStatus.launching, RunStatus.queued): EventType.retried,
            (RunStatus.running, RunStatus.queued): EventType.retried,
            (RunStatus.pausing, RunStatus.queued): EventType.queued,
            (RunStatus.paused, RunStatus.queued): EventType.queued,
        }
        rest = {b: kind for (_, b), kind in told.items() if b != "queued"}
        assert rest == {
            "launching": None, "running": "run.started", "pausing": None, "paused": "run.paused", "cancelling": None,
            "succeeded": "run.succeeded", "failed": "run.failed", "cancelled": "run.cancelled",
        }  # fmt: skip

    def test_a_submission_is_told_as_queued(self) -> None:
        assert event_of(None, "queued") is EventType.queued


class TestSendTaken:
    def test_the_time_that_is_signed_is_the_databases(self) -> None:
        moment = datetime(2026, 1, 1, 12, tzinfo=UTC)
        settings = Settings(
            database_url="postgresql+psycopg://basin@127.0.0.1/basin", broker_url="redis://127.0.0.1:6379/0",
            storage=Path("/storage"), loopback=True, webhook_private_hosts=("127.0.0.1",),
        )  # fmt: skip
        with Receiver() as receiver:
            taken = Taken(
                delivery_id=1, number=1, lease="l", webhook_id="w", url=receiver.url, nonces=("n",), message_id="msg_1",
                type="run.started", created_at=moment, taken_at=moment, data={},
            )  # fmt: skip
            assert send_taken(settings, taken).is_success
        [request] = receiver.requests
        assert request.headers["webhook-timestamp"] == str(int(moment.timestamp()))


class TestSend:
    def post(self, receiver: Receiver, *, seconds: float = 10, private: PrivateHosts = LOCAL) -> Outcome:
        return send(receiver.url, {"webhook-id": "msg_1"}, b'{"a":1}', private, seconds=seconds)

    def test_it_posts_json_once_and_keeps_the_beginning_of_the_answer(self) -> None:
        with Receiver([Answer(201, body=b"x" * 5000)]) as receiver:
            outcome = self.post(receiver)
        assert (outcome.status_code, outcome.error, outcome.is_success) == (201, None, True)
        assert outcome.excerpt == "x" * EXCERPT_BYTES
        [request] = receiver.requests
        assert (request.path, request.body) == ("/hook?a=b", b'{"a":1}')
        assert request.headers["host"] == f"127.0.0.1:{receiver.port}"
        assert request.headers["content-type"] == "application/json"
        assert request.headers["user-agent"].startswith("Basin-Webhooks/")

    def test_a_redirect_is_told_and_not_followed(self) -> None:
        with Receiver() as target, Receiver([Answer(307, headers={"Location": target.url})]) as receiver:
            outcome = self.post(receiver)
        assert (outcome.status_code, outcome.is_success) == (307, False)
        assert "redirects are not followed" in str(outcome.error)
        assert target.requests == []

    def test_what_nobody_foresaw_is_an_outcome_too(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*_: Any) -> None:
            raise LookupError("secret words")

        monkeypatch.setattr(sending, "_post", fail)
        outcome = send("https://a.example/", {}, b"", LOCAL)
        assert (outcome.status_code, outcome.is_success) == (None, False)
        assert "LookupError" in str(outcome.error)
        assert "secret words" not in str(outcome.error)

    def test_a_receiver_that_hangs_or_drips_is_left_when_the_time_is_over(self) -> None:
        for answer in (Answer(hangs=True), Answer(drips=True)):
            with Receiver([answer]) as receiver:
                outcome = self.post(receiver, seconds=0.5)
            assert (outcome.status_code, outcome.is_success) == (None, False)
            assert "no answer within 0.5 s" in str(outcome.error)

    def test_a_body_that_never_ends_takes_nothing_from_the_status(self) -> None:
        with Receiver([Answer(200, body=b"fine", stays_open=True)]) as receiver:
            outcome = self.post(receiver, seconds=1)
        assert (outcome.status_code, outcome.excerpt) == (200, "fine")

    def test_bytes_that_a_database_refuses_are_replaced(self) -> None:
        with Receiver([Answer(500, body=b"a\0b\xff")]) as receiver:
            assert self.post(receiver).excerpt == "a�b�"

    def test_a_closed_port_is_told(self) -> None:
        with Receiver() as receiver:
            pass
        assert "connection failed" in str(self.post(receiver).error)

    def test_the_port_of_a_plain_server_spoken_to_by_tls_is_told(self) -> None:
        with Receiver() as receiver:
            outcome = send(receiver.url.replace("http:", "https:"), {}, b"", LOCAL, seconds=5)
        assert "connection failed" in str(outcome.error)

    def test_nothing_is_sent_to_this_machine_unless_it_is_listed(self) -> None:
        with Receiver() as receiver:
            outcome = self.post(receiver, private=PrivateHosts())
        assert "private, local or reserved" in str(outcome.error)
        assert receiver.requests == []

    def test_proxies_of_the_environment_are_not_used(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with Receiver() as proxy, Receiver() as receiver:
            for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
                monkeypatch.setenv(name, proxy.url)
            assert self.post(receiver).is_success
        assert (len(proxy.requests), len(receiver.requests)) == (0, 1)


def resolving(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """Lets every name resolve to each of `answers` in turn; returns the names that were asked for."""
    asked: list[str] = []
    waiting = list(answers)

    def look_up(host: str, port: int, **_: Any) -> list[Any]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in waiting.pop(0)]

    monkeypatch.setattr(
        sending, "socket", type("Resolver", (), {"getaddrinfo": staticmethod(look_up), "SOCK_STREAM": 1})
    )
    return asked


class TestNames:
    """A name leads where it resolves at the moment of the connection, and only there."""

    def test_a_name_that_resolves_to_a_private_address_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        resolving(monkeypatch, ["127.0.0.1"])
        with Receiver() as receiver:
            outcome = send(f"https://a.example:{receiver.port}/", {}, b"", PrivateHosts())
        assert "a.example resolves to a private, local or reserved address" in str(outcome.error)
        assert "127.0.0.1" not in str(outcome.error)
        assert receiver.connections == 0

    def test_one_private_address_among_public_ones_spoils_the_name(self, monkeypatch: pytest.MonkeyPatch) -> None:
        resolving(monkeypatch, ["8.8.8.8", "10.0.0.1"])
        error = str(send("https://a.example/", {}, b"", PrivateHosts()).error)
        assert "resolves to a private" in error
        assert "10.0.0.1" not in error

    def test_the_address_that_was_judged_is_the_one_connected_to(self, monkeypatch: pytest.MonkeyPatch) -> None:
        # A second look-up would be answered by an address that is not allowed.
        asked = resolving(monkeypatch, ["127.0.0.1"], ["127.0.0.2"])
        with Receiver() as receiver:
            outcome = send(f"http://hooks.lab:{receiver.port}/", {}, b"", PrivateHosts.parsed(["hooks.lab"]))
        assert outcome.is_success
        assert asked == ["hooks.lab"]
        assert receiver.requests[0].headers["host"] == f"hooks.lab:{receiver.port}"

    def test_the_next_address_is_tried_where_one_does_not_answer(self, monkeypatch: pytest.MonkeyPatch) -> None:
        resolving(monkeypatch, ["127.0.0.3", "127.0.0.1"])
        with Receiver() as receiver:
            assert send(f"http://hooks.lab:{receiver.port}/", {}, b"", PrivateHosts.parsed(["hooks.lab"])).is_success

    def test_a_name_that_is_not_there_is_told(self) -> None:
        assert "could not be resolved" in str(send("https://nowhere.invalid/", {}, b"", PrivateHosts()).error)

    def test_a_listed_name_needs_no_tls_and_another_does(self) -> None:
        assert "must begin with https://" in str(send("http://a.example/", {}, b"", PrivateHosts()).error)


def test_a_message_is_the_same_bytes_each_time() -> None:
    at = datetime(2026, 1, 1, 12, 30, tzinfo=UTC)
    first = body_of("run.queued", at, {"b": 1, "a": None})
    assert first == body_of("run.queued", at, {"b": 1, "a": None})
    assert json.loads(first)["timestamp"] == "2026-01-01T12:30:00Z"
