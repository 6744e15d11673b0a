"""What the client makes of the API's answers, good and bad."""

from __future__ import annotations

import socket

import httpx
import pytest

from cli.answers import Unreachable, refusal, server_sent_events
from cli.client import Client
from cli.failure import ExitCode, Failure
from cli.views import RunView

RUN = {"id": "a1", "name": "n", "status": "running", "created_at": "2026-01-01T00:00:00Z", "from_a_newer_version": 1}
PROBLEM = {
    "type": "invalid",
    "title": "The request has mistakes",
    "status": 422,
    "detail": "two",
    "errors": [
        {"path": "spec.method.rho", "value": "-1", "allowed": "must be >= 0", "remedy": "Change `rho`"},
        {"path": "spec.resources.gpus_per_worker", "value": "1", "allowed": "must be 0: this stack has no GPU",
         "remedy": "Set it to 0"},
    ],
}  # fmt: skip


def test_a_problem_document_becomes_a_sentence_for_each_field() -> None:
    failure = refusal(httpx.Response(422, json=PROBLEM))
    assert failure.exit_code is ExitCode.refused
    assert failure.sentence.splitlines() == [
        "spec.method.rho is -1: must be >= 0. Change `rho`",
        "spec.resources.gpus_per_worker is 1: must be 0: this stack has no GPU. Set it to 0",
    ]


def test_a_problem_without_fields_gives_its_detail() -> None:
    failure = refusal(httpx.Response(404, json={"detail": "there is no run x", "status": 404}))
    assert (failure.sentence, failure.exit_code) == ("there is no run x", ExitCode.refused)


def test_a_refused_token_says_where_to_give_one() -> None:
    failure = refusal(httpx.Response(401, json={"detail": "the token is not known"}))
    assert failure.exit_code is ExitCode.unreachable
    assert "the token is not known (401); set BASIN_TOKEN or --token" in failure.sentence


def test_an_answer_that_is_no_problem_document_is_no_traceback() -> None:
    failure = refusal(httpx.Response(502, text="<html>bad gateway</html>"))
    assert failure.exit_code is ExitCode.failed
    assert "bad gateway" in failure.sentence


def test_a_closed_port_is_unreachable_and_says_what_to_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with (
        Client(f"http://127.0.0.1:{port}", "token") as client,
        pytest.raises(Unreachable, match="`basin up`") as caught,
    ):
        client.run("a1")
    assert caught.value.exit_code is ExitCode.unreachable


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "ftp://host", "http://"])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(Failure, match="must look like"):
        Client(url, "token")


def test_fields_of_a_newer_version_are_kept_for_json() -> None:
    assert RunView.model_validate(RUN).model_dump()["from_a_newer_version"] == 1


def test_events_are_read_and_signs_of_life_passed_over() -> None:
    lines = [": ping", "", "event: run", 'data: {"id":', 'data: "a1"}', "id: 7", "", 'data: {"x": 1}', "", "event: run"]
    assert [(change.kind, change.data) for change in server_sent_events(lines)] == [
        ("run", {"id": "a1"}),
        ("message", {"x": 1}),
    ]
