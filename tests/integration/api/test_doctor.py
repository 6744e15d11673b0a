"""Every check of the control plane, on a part made bad for it; and a diagnosis across parts, with its silent ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine

from api.db.engine import make_engine
from api.doctor import checks
from api.doctor.diagnosis import CELERY_SECONDS, NODE_SECONDS, probe_folder
from api.runs.storage import PROOF_NAME
from api.settings import Settings
from cli.reach import nothing_but_the_api, outer_addresses
from tests.integration.api.hooked import Hooked, environment_of
from tests.integration.api.stack import Api, person
from tests.integration.faults.clock import library
from tests.integration.faults.small_disk import SmallDisk
from tests.integration.services import valkey_server
from trainer.contract.diagnosis import MARKER
from trainer.contract.findings import Found, run_checks
from worker.connections import Connections
from worker.doctor import collect_findings, examine, findings_in, ray_answers, ray_demands_a_token
from worker.ray_jobs import Job, JobState, RayJobs

PASSWORD = "a-password-of-the-tests"


@pytest.fixture(scope="module")
def good_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    options = {"requirepass": PASSWORD, "appendonly": "yes", "maxmemory-policy": "noeviction"}
    with valkey_server(tmp_path_factory.mktemp("good"), options=options) as url:
        yield url


@pytest.fixture(scope="module")
def bad_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    options = {"maxmemory": "100mb", "maxmemory-policy": "allkeys-lru"}
    with valkey_server(tmp_path_factory.mktemp("bad"), options=options) as url:
        yield url


def using(settings: Settings, **changes: Any) -> Settings:
    return settings.model_copy(update=changes)


def must_fail(found: Found, *, told: str, remedy: str, verdict: str = "failed") -> None:
    assert found.verdict == verdict, found
    assert told in found.found, found
    assert found.needed, found
    assert remedy in found.remedy, found


class TestBroker:
    def test_a_good_one_is_well(self, settings: Settings, good_broker: str) -> None:
        good = using(settings, broker_url=good_broker)
        for check in (checks.broker, checks.broker_policy, checks.broker_password, checks.broker_persistence):
            assert check(good).verdict == "ok", check(good)

    def test_one_that_evicts(self, settings: Settings, bad_broker: str) -> None:
        bad = using(settings, broker_url=bad_broker)
        must_fail(
            checks.broker_policy(bad), told="allkeys-lru, maxmemory 104,857,600", remedy="maxmemory-policy noeviction"
        )

    def test_one_that_lets_everybody_in(self, settings: Settings, bad_broker: str) -> None:
        bad = using(settings, broker_url=bad_broker)
        must_fail(checks.broker_password(bad), told="without a password", remedy="requirepass")

    def test_one_that_forgets_with_a_restart_is_a_warning(self, settings: Settings, bad_broker: str) -> None:
        bad = using(settings, broker_url=bad_broker)
        must_fail(checks.broker_persistence(bad), told="no append-only", remedy="appendonly yes", verdict="warning")

    def test_one_that_is_away(self, settings: Settings, engine: Engine) -> None:
        away = using(settings, broker_url="redis://127.0.0.1:1/0")
        found = {each.check: each for each in checks_run(away, engine)}
        must_fail(found["broker"], told="could not be checked (ConnectionError", remedy="mend BASIN_BROKER_URL")


class TestDatabase:
    def test_one_that_lets_everybody_in(self, settings: Settings) -> None:
        """The tests' own server does."""
        must_fail(checks.database_password(settings), told="without a password", remedy="scram-sha-256")

    def test_tables_of_another_version(self, hooks: Hooked) -> None:
        assert checks.migrations(hooks.api.engine).verdict == "ok"
        hooks.execute("UPDATE alembic_version SET version_num = '0003'")
        must_fail(checks.migrations(hooks.api.engine), told="at 0003", remedy="python -m api.db.migrate")

    def test_one_that_is_away(self, settings: Settings) -> None:
        away = using(settings, database_url="postgresql+psycopg://basin:a-word@127.0.0.1:1/basin")
        nobody = make_engine(away)
        found = {each.check: each for each in checks_run(away, nobody)}
        nobody.dispose()
        for check in ("database", "database password", "migrations", "clock"):
            must_fail(found[check], told="OperationalError", remedy="mend BASIN_DATABASE_URL")
            assert "a-word" not in found[check].found

    def test_one_that_is_too_old(self, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
        assert checks.database(engine).verdict == "ok"
        monkeypatch.setattr(checks, "OLDEST_POSTGRES", 99)
        must_fail(checks.database(engine), told="PostgreSQL", remedy="basin admin backup")


class TestStorage:
    def test_a_mount_point_without_its_mount(self, api: Api) -> None:
        assert checks.own_storage(api.settings, api.engine).verdict == "ok"
        (api.settings.storage / PROOF_NAME).write_text("another storage")
        must_fail(checks.own_storage(api.settings, api.engine), told="missing or another", remedy="Mount it at")

    @pytest.mark.skipif(not SmallDisk.can_be_mounted(), reason="only root mounts a small disk")
    def test_a_disk_that_is_nearly_full(self, settings: Settings, engine: Engine, tmp_path: Path) -> None:
        disk = SmallDisk(tmp_path / "small")
        disk.mount()
        try:
            found = {each.check: each for each in checks_run(using(settings, storage=disk.folder), engine)}
            must_fail(found["storage disk"], told="free of 96 MiB", remedy="basin admin collect --dry-run")
        finally:
            disk.unmount()


class TestClock:
    def test_a_machine_whose_clock_is_two_minutes_ahead(self, api: Api) -> None:
        """libfaketime moves the clock of the process that looks, and of nothing else."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("BASIN_")}
        faked = {"LD_PRELOAD": str(library()), "FAKETIME": "+120", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
        done = subprocess.run(
            [sys.executable, "-m", "api.doctor"],
            env={**kept, **environment_of(api.settings), **faked, "DONT_FAKE_MONOTONIC": "1"},
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        found = {each["check"]: Found.model_validate(each) for each in json.loads(done.stdout)["findings"]}
        assert done.returncode == 1
        must_fail(found["clock"], told="the database's clock is 120 s behind", remedy="chrony")
        assert checks.database_clock(api.engine).verdict == "ok"


def checks_run(settings: Settings, engine: Engine) -> list[Any]:
    return run_checks("api", checks.control_checks(settings, engine))


# ---- Across parts ---------------------------------------------------------------------------------------------------


def begin(api: Api) -> dict[str, Any]:
    answer = api.http.post("/api/v1/doctor", headers=person("ada"), timeout=120)
    assert answer.status_code == 201, answer.text
    document: dict[str, Any] = answer.json()
    return document


def look(api: Api, diagnosis_id: str) -> dict[str, Any]:
    answer = api.get(f"/doctor/{diagnosis_id}", "ada")
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


def finding(document: dict[str, Any], part: str, check: str) -> Found:
    return Found.model_validate(
        next(each for each in document["findings"] if (each["part"], each["check"]) == (part, check))
    )


class TestDiagnosis:
    def test_the_celery_worker_answers_and_both_see_one_storage(self, hooks: Hooked) -> None:
        begun = begin(hooks.api)
        assert (begun["complete"], begun["outstanding"]) == (False, ["celery worker", "storage"])
        examine(hooks.connections, begun["id"])
        seen = look(hooks.api, begun["id"])
        assert (seen["complete"], seen["outstanding"]) == (True, [])
        for part, check in (
            ("api", "shared storage"), ("celery worker", "shared storage"), ("celery worker", "version"),
            ("celery worker", "clock"), ("api", "files of others"),
        ):  # fmt: skip
            assert finding(seen, part, check).verdict == "ok", finding(seen, part, check)
        # There is no Ray here.
        must_fail(finding(seen, "celery worker", "Ray"), told="did not answer", remedy="BASIN_RAY_ADDRESS")
        assert not (hooks.api.settings.storage / probe_folder(begun["id"])).exists()

    def test_a_worker_with_a_storage_of_its_own(self, hooks: Hooked, tmp_path: Path) -> None:
        begun = begin(hooks.api)
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        proof = (hooks.api.settings.storage / PROOF_NAME).read_text()
        (elsewhere / PROOF_NAME).write_text(proof)  # A copy: the proof alone would not tell.
        connections = Connections(using(hooks.api.settings, storage=elsewhere))
        examine(connections, begun["id"])
        connections.close()
        seen = look(hooks.api, begun["id"])
        must_fail(
            finding(seen, "celery worker", "shared storage"), told="what api wrote", remedy="Mount the same storage"
        )

    def test_a_worker_that_writes_where_the_api_does_not_read(self, hooks: Hooked) -> None:
        """As with a mount that is read from a cache."""
        begun = begin(hooks.api)
        examine(hooks.connections, begun["id"])
        (hooks.api.settings.storage / probe_folder(begun["id"]) / "celery-worker").unlink()
        seen = look(hooks.api, begun["id"])
        must_fail(
            finding(seen, "api", "files of others"), told="does not see what celery worker", remedy="same storage"
        )

    def test_a_worker_of_another_version(self, hooks: Hooked) -> None:
        begun = begin(hooks.api)
        hooks.execute(
            "UPDATE diagnosis_parts SET about = jsonb_set(about, '{versions,basin}', '\"9.9.9\"') WHERE part = 'api'"
        )
        examine(hooks.connections, begun["id"])
        must_fail(
            finding(look(hooks.api, begun["id"]), "celery worker", "version"),
            told="9.9.9 in the API", remedy="from one source",
        )  # fmt: skip

    def test_a_worker_that_stays_silent_is_told_when_its_time_is_over(self, hooks: Hooked) -> None:
        begun = begin(hooks.api)
        assert not look(hooks.api, begun["id"])["complete"]
        self._wait(hooks, CELERY_SECONDS)
        seen = look(hooks.api, begun["id"])
        assert seen["complete"]
        must_fail(
            finding(seen, "celery worker", "answers"), told="no answer within 60 s", remedy="Start the Celery worker"
        )
        examine(hooks.connections, begun["id"])  # Too late: what was told stands.
        assert look(hooks.api, begun["id"])["findings"] == seen["findings"]

    def test_a_node_whose_job_never_ends_is_told_when_its_time_is_over(self, hooks: Hooked) -> None:
        begun = begin(hooks.api)
        examine(hooks.connections, begun["id"])
        hooks.execute(
            "INSERT INTO diagnosis_parts (diagnosis_id, part, submission_id) VALUES (:id, 'node host-a', 'doctor-x')",
            id=begun["id"],
        )
        collect_findings(hooks.connections, begun["id"])  # Ray is away: it stays open.
        assert look(hooks.api, begun["id"])["outstanding"] == ["node host-a", "storage"]
        self._wait(hooks, NODE_SECONDS)
        must_fail(
            finding(look(hooks.api, begun["id"]), "node host-a", "answers"),
            told="within 300 s",
            remedy="Ray's dashboard",
        )

    def test_only_admins_ask(self, api: Api) -> None:
        assert api.http.post("/api/v1/doctor", headers=person("max")).status_code == 403
        assert api.get("/doctor/0123", "ada").status_code == 404

    @staticmethod
    def _wait(hooks: Hooked, seconds: float) -> None:
        hooks.execute("UPDATE diagnosis_parts SET began_at = began_at - make_interval(secs => :s)", s=seconds)


# ---- Ray and ports --------------------------------------------------------------------------------------------------


@contextmanager
def answering(status: int, body: dict[str, Any]) -> Iterator[str]:
    """A server that answers everybody the same, as a Ray without a token, or one without nodes, would."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class TestRay:
    def test_one_that_answers_without_a_token(self) -> None:
        with answering(200, {}) as address:
            must_fail(ray_demands_a_token(address), told="200 without a token", remedy="RAY_AUTH_MODE=token")
        with answering(401, {}) as address:
            assert ray_demands_a_token(address).verdict == "ok"

    def test_one_without_a_node_that_trains(self) -> None:
        row = {"node_id": "h", "state": "ALIVE", "resources_total": {"CPU": 4.0}, "node_name": "head"}
        listed = {"result": True, "data": {"result": {"result": [row]}}}
        with answering(200, listed) as address, RayJobs(address, "token") as ray:
            must_fail(ray_answers(ray), told="none of them trains", remedy="Start a GPU worker")

    def test_a_node_whose_trainer_does_not_start(self) -> None:
        job = Job(submission_id="doctor-1", state=JobState.ended)
        [found] = findings_in("node host-a", job, "Traceback\nNo module named trainer\n\n")
        must_fail(found, told="No module named trainer", remedy="BASIN_TRAINER_PYTHON")
        [cut] = findings_in("node host-a", job, MARKER + '[{"part": ')
        must_fail(cut, told="without findings", remedy="BASIN_TRAINER_PYTHON")


class TestPorts:
    def test_services_that_answer_to_others(self, postgres: str, good_broker: str) -> None:
        """At an address that stands for an outer one: the real servers, by their ports."""
        ports = {"PostgreSQL": port_of(postgres), "Valkey": port_of(good_broker)}
        must_fail(
            nothing_but_the_api(["127.0.0.1"], ports),
            told=f"PostgreSQL at 127.0.0.1:{ports['PostgreSQL']}, Valkey at", remedy="close the firewall",
        )  # fmt: skip
        with answering(200, {"ray_version": "2.60.0"}) as address:
            must_fail(
                nothing_but_the_api(["127.0.0.1"], {"Ray's job API": port_of(address)}),
                told="Ray's job API at", remedy="published",
            )  # fmt: skip

    def test_another_program_at_a_usual_port_is_none_of_ours(self, postgres: str) -> None:
        assert nothing_but_the_api(["127.0.0.1"], {"Valkey": port_of(postgres)}).verdict == "ok"
        with answering(200, {"hello": "world"}) as address:
            assert nothing_but_the_api(["127.0.0.1"], {"Ray's job API": port_of(address)}).verdict == "ok"

    def test_loopback_is_no_outer_address(self) -> None:
        addresses = outer_addresses("http://127.0.0.1:8000")
        assert not [each for each in addresses if each.startswith("127.")]
        assert "gpu-host.lab" in outer_addresses("https://gpu-host.lab")


def port_of(url: str) -> int:
    return int(url.rsplit(":", 1)[1].partition("/")[0])
