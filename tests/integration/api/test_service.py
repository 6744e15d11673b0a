"""The process itself: health, pages, headers, limits, errors without tracebacks, the clock, the token command."""

from __future__ import annotations

import gzip
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, text

from api.runs.service_clock import tick
from api.settings import Settings
from tests.integration.api.conftest import serving
from tests.integration.api.stack import SPEC, Api, bearer, person
from tests.integration.services import free_port
from trainer.contract.build import installed, source_revision


def all_seen(api: Api) -> None:
    """What Celery worker, beat and Ray leave behind when they work."""
    with api.engine.begin() as connection:
        connection.execute(text("INSERT INTO heartbeats (part) VALUES ('reconcile'), ('ray')"))
        connection.execute(
            text(
                "INSERT INTO canaries (sender, taken_at) VALUES ('api', now()), ('beat', now())"
                " ON CONFLICT (sender) DO UPDATE SET taken_at = now()"
            )
        )


class TestHealth:
    @pytest.mark.parametrize("prefix", ["", "/api/v1"])
    def test_healthz_says_that_the_process_answers(self, api: Api, prefix: str) -> None:
        known = {"version": installed("basin"), "revision": source_revision()}
        answer = {"status": "ok", **{name: value for name, value in known.items() if value is not None}}
        assert api.http.get(f"{prefix}/healthz").json() == answer

    def test_readyz_names_what_is_missing(self, api: Api) -> None:
        answer = api.http.get("/readyz")
        assert answer.status_code == 503
        checks = {check["name"]: check["ok"] for check in answer.json()["checks"]}
        assert checks == {
            "database": True, "migrations": True, "broker": True, "storage": True, "disk space": True,
            "celery worker": False, "beat": False, "reconcile": False, "ray": False,
        }  # fmt: skip

    def test_readyz_is_ready_when_worker_beat_and_ray_were_seen(self, api: Api) -> None:
        all_seen(api)
        answer = api.http.get("/readyz")
        assert (answer.status_code, answer.json()["ready"]) == (200, True)
        with api.engine.begin() as connection:
            connection.execute(text("UPDATE heartbeats SET at = now() - interval '10 min' WHERE part = 'ray'"))
        assert re.search(r"last seen 6\d\d s ago: is Ray's head up", api.http.get("/readyz").text)

    @pytest.mark.parametrize(
        ("change", "failing", "said"),
        [
            (
                "UPDATE canaries SET taken_at = now() - interval '10 min' WHERE sender = 'api'",
                {"celery worker"},
                " s, though it may be connected: look at its log, and restart it",
            ),
            (
                "UPDATE canaries SET taken_at = now() - interval '10 min' WHERE sender = 'beat'",
                {"beat"},
                " s: is beat up, with the API's BASIN_BROKER_URL? Look at its log, and restart it",
            ),
            (
                "UPDATE canaries SET taken_at = now() - interval '10 min'",
                {"celery worker", "beat"},
                "cannot be told while the Celery worker takes no tasks: mend that first",
            ),
            ("DELETE FROM heartbeats WHERE part = 'reconcile'", {"reconcile"}, "look at the Celery worker's log"),
            ("UPDATE alembic_version SET version_num = '0001'", {"migrations"}, "run `python -m api.db.migrate`"),
            ("UPDATE storage_proof SET proof = 'of another'", {"storage"}, "is another storage's: mount the storage"),
        ],
    )
    def test_readyz_blames_the_part_and_says_what_to_do(
        self, api: Api, change: str, failing: set[str], said: str
    ) -> None:
        all_seen(api)
        with api.engine.begin() as connection:
            connection.execute(text(change))
        answer = api.http.get("/readyz")
        assert answer.status_code == 503
        bad = {check["name"]: check["detail"] for check in answer.json()["checks"] if not check["ok"]}
        assert bad.keys() == failing
        assert any(said in detail for detail in bad.values()), bad

    def test_readyz_says_that_the_storage_is_gone(self, api: Api) -> None:
        all_seen(api)
        api.settings.storage.rename(api.settings.storage.with_name("elsewhere"))
        bad = [check for check in api.http.get("/readyz").json()["checks"] if not check["ok"]]
        assert [check["name"] for check in bad] == ["storage"]
        assert "mount the storage where the API runs" in bad[0]["detail"]

    def test_without_a_database_it_starts_and_says_so(self, settings: Settings, engine: Engine) -> None:
        away = settings.model_copy(update={"database_url": f"postgresql+psycopg://basin@127.0.0.1:{free_port()}/basin"})
        with serving(away, engine) as api:
            assert api.http.get("/healthz").status_code == 200
            assert api.http.get("/readyz").json()["checks"][0] == {
                "name": "database", "ok": False,
                "detail": "the database did not answer: is PostgreSQL up, and BASIN_DATABASE_URL right?",
            }  # fmt: skip
            answer = api.get("/runs")
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")
            assert answer.json()["type"] == "unavailable"


class TestPages:
    def test_the_dashboard_and_its_own_paths(self, api: Api) -> None:
        for path in ("/", "/runs/3f9c2a71b04d"):
            page = api.http.get(path, headers={"Accept": "text/html"})
            assert (page.status_code, "Basin" in page.text) == (200, True), path
            assert page.headers["Cache-Control"] == "no-cache"
        asset = api.http.get("/assets/index-abc123.js")
        assert "immutable" in asset.headers["Cache-Control"]

    @pytest.mark.parametrize(
        "path", ["/../storage/.basin-storage", "/%2e%2e/storage/.basin-storage", "/assets/none.js"]
    )
    def test_nothing_else(self, api: Api, path: str) -> None:
        assert api.http.get(path).status_code == 404

    def test_every_answer_carries_the_policy(self, api: Api) -> None:
        for path in ("/", "/api/v1/me", "/api/v1/none", "/healthz"):
            headers = api.http.get(path).headers
            assert "script-src 'self'" in headers["Content-Security-Policy"]
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["X-Frame-Options"] == "DENY"

    def test_without_a_build_it_says_how_to_get_one(self, settings: Settings, engine: Engine) -> None:
        with serving(settings.model_copy(update={"dashboard": None}), engine) as api:
            assert "make setup" in api.http.get("/").json()["detail"]


class TestProblems:
    @pytest.mark.parametrize(
        ("method", "path", "status"),
        [
            ("GET", "/api/v1/none", 404),
            ("GET", "/api/none", 404),
            ("GET", "/api/v1/runs/none", 404),
            ("GET", "/api/v1/runs/%00", 422),
            ("GET", "/api/v1/runs/none/attempts/0/log", 404),
            ("DELETE", "/api/v1/runs", 405),
            ("PUT", "/healthz", 405),
            ("POST", "/", 405),
            ("GET", "/api/v1/runs?project=%00", 422),
            ("POST", "/api/v1/attempts/none/claim", 422),
            ("POST", "/api/v1/attempts/none/reports", 422),
        ],
    )
    def test_every_error_is_a_problem_document(self, api: Api, method: str, path: str, status: int) -> None:
        answer = api.http.request(method, path, headers=person("max") | {"Accept": "text/html"})
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        document = answer.json()
        assert document.keys() >= {"type", "title", "status", "detail", "errors"}
        assert document["status"] == status
        if status == 405:
            assert answer.headers["Allow"]

    def test_an_accident_shows_a_number_and_no_traceback(self, api: Api, capfd: pytest.CaptureFixture[str]) -> None:
        with api.engine.begin() as connection:
            connection.execute(text("ALTER TABLE runs RENAME TO walks"))
        answer = api.get("/runs")
        assert (answer.status_code, answer.json()["type"]) == (500, "internal")
        assert answer.headers["content-type"] == "application/problem+json"
        assert "Traceback" not in answer.text
        assert "walks" not in answer.text
        assert answer.json()["incident"] in answer.json()["detail"]
        assert answer.json()["incident"] in capfd.readouterr().out


class TestBodies:
    def test_a_large_submission_is_refused(self, api: Api) -> None:
        for answer in (api.submit(name="x" * 2**20), self._chunked(api, b"x" * 2**17, 9)):
            assert answer.status_code == 413, answer.text
            assert answer.headers["content-type"] == "application/problem+json"

    def test_reports_may_be_larger_but_no_bomb(self, api: Api) -> None:
        trainer = api.start(api.new_run())
        path = f"/api/v1/attempts/{trainer.attempt_id}/reports"
        bomb = gzip.compress(b" " * 2**26)
        headers = bearer(trainer.token) | {"Content-Encoding": "gzip", "Content-Type": "application/json"}
        assert api.http.post(path, headers=headers, content=bomb).status_code == 413
        assert api.http.post(path, headers=headers, content=b"no gzip").status_code == 400
        plain = bearer(trainer.token) | {"Content-Type": "application/json"}
        assert api.http.post(path, headers=plain, content=b" " * 2**21 + b"{}").status_code == 422

    def test_gzip_is_not_taken_elsewhere(self, api: Api) -> None:
        headers = person("max") | {"Content-Encoding": "gzip"}
        answer = api.http.post("/api/v1/runs", headers=headers, content=gzip.compress(b"{}"))
        assert answer.status_code == 415

    @staticmethod
    def _chunked(api: Api, part: bytes, times: int) -> httpx.Response:
        headers = person("max") | {"Content-Type": "application/json"}
        return api.http.post("/api/v1/runs", headers=headers, content=iter([part] * times))


class TestServiceClock:
    def test_it_counts_while_the_api_serves(self, api: Api) -> None:
        before = self._reading(api.engine)
        time.sleep(2.5)
        assert 0.5 < self._reading(api.engine) - before < 10

    def test_an_outage_adds_three_seconds_at_most(self, engine: Engine) -> None:
        with engine.begin() as connection:
            connection.execute(text("UPDATE service_clock SET ticked_at = now() - interval '1 hour'"))
        before = self._reading(engine)
        tick(engine)
        assert self._reading(engine) - before == pytest.approx(3)

    def test_two_apis_at_once_do_not_count_twice(self, engine: Engine) -> None:
        tick(engine)
        before, begun = self._reading(engine), self._last_tick(engine)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: tick(engine), range(80)))
        # By the database's own clock: every second between the first tick and the last is there once at most.
        assert 0 < self._reading(engine) - before <= self._last_tick(engine) - begun + 1e-3

    @staticmethod
    def _reading(engine: Engine) -> float:
        with engine.connect() as connection:
            return float(connection.execute(text("SELECT serving_seconds FROM service_clock")).scalar_one())

    @staticmethod
    def _last_tick(engine: Engine) -> float:
        with engine.connect() as connection:
            return float(
                connection.execute(text("SELECT extract(epoch FROM ticked_at) FROM service_clock")).scalar_one()
            )


class TestSilence:
    def test_a_run_whose_lease_is_expired_says_so(self, api: Api) -> None:
        run_id = api.new_run()
        api.start(run_id)
        with api.engine.begin() as connection:
            connection.execute(text("UPDATE service_clock SET serving_seconds = serving_seconds + 61"))
        run = api.run(run_id)
        assert (run["silent"], run["status"]) == (True, "running")
        assert run["sentence"].startswith("No sign of life")
        assert run["attempts"][0]["lease_age_seconds"] >= 61


class TestTokenCommand:
    def test_it_makes_a_user_and_a_token_once_and_sets_the_role(self, api: Api, tmp_path: Path) -> None:
        file = tmp_path / "token"
        assert self._run(api, "local", "viewer", file).returncode == 0
        token = file.read_text().strip()
        assert token.startswith("basin_")
        assert file.stat().st_mode & 0o777 == 0o600
        assert self._run(api, "local", "admin", file).returncode == 0
        assert file.read_text().strip() == token
        assert api.count("tokens") == 5
        assert api.http.get("/api/v1/me", headers=bearer(token)).json()["role"] == "admin"

    def test_a_token_of_another_user_is_not_shared(self, api: Api, tmp_path: Path) -> None:
        file = tmp_path / "token"
        assert self._run(api, "one", "member", file).returncode == 0
        result = self._run(api, "two", "member", file)
        assert result.returncode == 1
        assert "another user" in result.stderr
        assert "Traceback" not in result.stderr

    @staticmethod
    def _run(api: Api, user: str, role: str, file: Path) -> subprocess.CompletedProcess[str]:
        settings = api.settings
        environment: dict[str, str] = {
            "BASIN_DATABASE_URL": settings.database_url,
            "BASIN_BROKER_URL": settings.broker_url,
            "BASIN_STORAGE": str(settings.storage),
            "BASIN_LOOPBACK": "true",
        }
        command = [sys.executable, "-m", "api.runs.tokens", "ensure", "--user", user, "--role", role]
        return subprocess.run(
            [*command, "--token-file", str(file)], capture_output=True, text=True, env=environment, check=False
        )


def test_what_the_description_promises_is_what_comes(api: Api) -> None:
    """Every field of a run's schema is in the answer, and no other."""
    schema: dict[str, Any] = api.http.get("/openapi.json").json()["components"]["schemas"]["Run"]
    run = api.submit(spec=SPEC).json()
    assert set(run) == set(schema["properties"]) == set(schema["required"])
