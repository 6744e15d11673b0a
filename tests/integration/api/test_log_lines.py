"""Logs as JSON lines, with the ids by which a request is followed from the API to the Celery worker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from sqlalchemy import Engine, text

from api.settings import Settings
from tests.integration.api.stack import SPEC, TOKENS, Api, person
from tests.integration.processes import CELERY, Log, api_process, as_environment, running, until
from tests.integration.services import valkey_server


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[str]:
    """A broker of the test's own, so that its worker takes its messages only."""
    folder = tmp_path / "valkey"
    folder.mkdir()
    with valkey_server(folder) as url:
        yield url


class TestRequestIds:
    def test_one_is_made_and_one_that_is_given_is_kept(self, api: Api) -> None:
        made = {httpx.get(f"{api.url}/healthz", timeout=30).headers["X-Request-ID"] for _ in range(3)}
        assert len(made) == 3
        given = api.http.get("/healthz", headers={"X-Request-ID": "from-the-proxy.42"})
        assert given.headers["X-Request-ID"] == "from-the-proxy.42"

    @pytest.mark.parametrize("forged", ["a b", "x" * 65, "{}", '"', ""])
    def test_one_that_could_forge_a_line_is_replaced(self, api: Api, forged: str) -> None:
        assert api.http.get("/healthz", headers={"X-Request-ID": forged}).headers["X-Request-ID"] != forged

    @pytest.mark.parametrize("path", ["/api/v1/none", "/api/v1/runs/000000000000", "/api/v1/runs?limit=x", "/metrics"])
    def test_every_problem_says_it(self, api: Api, path: str) -> None:
        answer = api.http.get(path, headers=person("max") | {"Via": "1.1 proxy"})
        assert answer.is_client_error
        assert answer.json()["request_id"] == answer.headers["X-Request-ID"]

    def test_an_accident_says_it_too(self, api: Api) -> None:
        with api.engine.begin() as connection:
            connection.execute(text("ALTER TABLE runs RENAME TO walks"))
        answer = api.http.get("/api/v1/runs", headers=person("max") | {"X-Request-ID": "the-one"})
        assert answer.status_code == 500
        assert answer.json()["request_id"] == answer.headers["X-Request-ID"] == "the-one"
        page = httpx.get(f"{api.url}/metrics", timeout=30).text  # uvicorn closes the connection of an accident.
        assert 'route="/api/v1/runs",status="500"' in page


def test_json_lines_follow_a_request_to_the_worker_and_hold_no_secret(
    settings: Settings, engine: Engine, tmp_path: Path
) -> None:
    """Each line of API, worker and beat is an object; `Log.events` fails on any other."""
    worker_log, beat_log = Log(tmp_path / "celery.log"), Log(tmp_path / "beat.log")
    environment = as_environment(settings, BASIN_LOG_FORMAT="json", TMPDIR=str(tmp_path))
    quiet = ["--without-gossip", "--without-mingle"]
    with (
        api_process(settings, tmp_path, BASIN_LOG_FORMAT="json") as (url, log),
        running([*CELERY, "worker", "-c", "1", *quiet], environment, worker_log.path),
        running([*CELERY, "beat", "--pidfile="], environment, beat_log.path),
    ):
        headers = person("max") | {"X-Request-ID": "followed", "Cookie": "basin_session=secret-cookie"}
        answer = httpx.post(
            f"{url}/api/v1/runs?token=secret-in-a-query", headers=headers, json={"spec": SPEC}, timeout=30
        )
        assert answer.status_code == 201, answer.text
        run_id = answer.json()["id"]
        httpx.get(f"{url}/api/v1/runs/{run_id}?access_token=secret-in-a-query", headers=headers, timeout=30)
        httpx.get(f"{url}/readyz", timeout=30)
        submitted = log.until("request", request_id="followed", method="POST")
        looked = log.until("request", path=f"/api/v1/runs/{run_id}")
        # Ray is away, so the task that the submission sent says that it launches nothing.
        taken = worker_log.until("nothing_launched", request_id="followed")
        beat_log.until("beat_started")
    assert (submitted["path"], submitted["status"], submitted["level"]) == ("/api/v1/runs", 201, "info")
    assert (looked["run"], looked["service"]) == (run_id, "basin-api")
    assert (taken["run"], taken["task"], taken["service"]) == (run_id, "launch", "basin-worker")
    assert taken["timestamp"] > submitted["timestamp"][:10]
    assert {event["service"] for event in beat_log.events} == {"basin-beat"}
    probes = [event for event in log.events if event.get("path") == "/healthz"]
    assert probes == [], "successful probes are left out"
    assert [event["status"] for event in log.events if event.get("path") == "/readyz"] == [503]
    told = log.text + worker_log.text + beat_log.text
    for secret in ("secret-in-a-query", "secret-cookie", TOKENS["max"][1], settings.secret.get_secret_value()):
        assert secret not in told


def test_text_lines_are_for_a_person_and_hold_no_query(settings: Settings, engine: Engine, tmp_path: Path) -> None:
    with api_process(settings, tmp_path) as (url, log):
        httpx.get(f"{url}/api/v1/me?token=secret-in-a-query", headers={"X-Request-ID": "followed"}, timeout=30)
        until(lambda: "request_id=followed" in log.text, what="the request", within=30, shown=lambda: log.text)
        assert not log.text.startswith("{")
        assert "secret-in-a-query" not in log.text


def test_no_access_log_stays_off(settings: Settings, engine: Engine, tmp_path: Path) -> None:
    with api_process(settings, tmp_path, "--no-access-log", BASIN_LOG_FORMAT="json") as (url, log):
        httpx.get(f"{url}/api/v1/none", timeout=30)
        httpx.get(f"{url}/api/v1/me", headers=person("max") | {"X-Request-ID": "second"}, timeout=30)
    assert [event for event in log.events if event["event"] == "request"] == []
    assert any("Uvicorn running" in event["event"] for event in log.events)
