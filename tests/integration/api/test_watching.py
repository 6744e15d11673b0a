"""What `/metrics` tells: its numbers move with what happens, and it answers whatever is away."""

from __future__ import annotations

from dataclasses import dataclass

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr
from sqlalchemy import Engine, text

from api.runs import readings
from api.runs.canary import note_taken
from api.settings import Settings
from api.telemetry import families
from tests.integration.api.conftest import serving
from tests.integration.api.hooked import Hooked
from tests.integration.api.listening import listening
from tests.integration.api.stack import SPEC, Api, metrics, person, progress
from tests.integration.services import free_port
from worker.purge import purge_deleted

TOKEN = "a-token-of-the-tests-for-prometheus"


@dataclass(frozen=True)
class Scrape:
    numbers: dict[tuple[str, tuple[tuple[str, str], ...]], float]

    def __call__(self, name: str, **labels: str) -> float:
        """The sum over all series of that name with those labels."""
        found = self._found(name, labels)
        assert found, f"no series {name} {labels}"
        return sum(found)

    def has(self, name: str, **labels: str) -> bool:
        return bool(self._found(name, labels))

    def _found(self, name: str, labels: dict[str, str]) -> list[float]:
        return [
            number
            for (series, has), number in self.numbers.items()
            if series == name and labels.items() <= dict(has).items()
        ]

    @property
    def names(self) -> set[str]:
        return {name for name, _ in self.numbers}


def parsed(page: str) -> Scrape:
    return Scrape(
        {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(page)
            for sample in family.samples
        }
    )


def scrape(api: Api) -> Scrape:
    answer = api.http.get("/metrics")
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain")
    return parsed(answer.text)


@pytest.fixture(autouse=True)
def _nothing_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each scrape reads the rows anew."""
    monkeypatch.setattr(readings, "FRESH_SECONDS", 0.0)


def execute(api: Api, statement: str) -> None:
    with api.engine.begin() as connection:
        connection.execute(text(statement))


class TestRuns:
    def test_the_queue_moves_with_what_is_submitted_and_cancelled(self, api: Api) -> None:
        before = scrape(api)
        assert (before("basin_queue_depth"), before("basin_queue_oldest_age_seconds")) == (0, 0)
        first, second, third = (api.new_run() for _ in range(3))
        execute(api, f"UPDATE runs SET queued_at = now() - interval '1 hour' WHERE id = '{first}'")
        execute(api, f"UPDATE runs SET wait_reason = 'needs 4 GPUs, 0 free' WHERE id = '{first}'")
        execute(api, f"UPDATE runs SET not_before = now() + interval '1 hour' WHERE id = '{second}'")
        waiting = scrape(api)
        assert waiting("basin_queue_depth") == waiting("basin_runs", status="queued") == 3
        for reason in ("slots", "back_off", "new"):
            assert waiting("basin_queue_depth", reason=reason) == 1
        assert 3600 <= waiting("basin_queue_oldest_age_seconds", reason="slots") < 3700
        api.cancel(third)
        ended = scrape(api)
        assert (ended("basin_queue_depth"), ended("basin_runs", status="cancelled")) == (2, 1)
        assert ended("basin_runs_ended_total", reason="cancelled_by_user") == 1
        assert ended("basin_runs_ended_total") == 1

    def test_admissions_and_leases_of_what_runs(self, api: Api) -> None:
        assert scrape(api)("basin_lease_age_seconds_max") == 0
        for _ in range(2):
            api.start(api.new_run())
        execute(api, "UPDATE service_clock SET serving_seconds = serving_seconds + 100")
        api.start(api.new_run())
        running = scrape(api)
        assert running("basin_admissions_total") == running("basin_runs", status="running") == 3
        assert 100 <= running("basin_lease_age_seconds_max") < 160
        assert running("basin_lease_age_seconds_gcount") == 3
        assert running("basin_lease_age_seconds_bucket", le="60") == 1
        assert running("basin_lease_age_seconds_bucket", le="+Inf") == 3

    def test_counters_do_not_fall_when_runs_are_removed_for_good(self, hooks: Hooked) -> None:
        api = hooks.api
        for _ in range(2):
            run_id = api.new_run()
            api.launch(run_id)
            api.cancel(run_id)
            execute(api, f"UPDATE attempts SET ended_at = now(), slots_released_at = now() WHERE run_id = '{run_id}'")
            execute(api, f"UPDATE runs SET status = 'cancelled', reason = 'cancelled_by_user' WHERE id = '{run_id}'")
            assert api.http.delete(f"/api/v1/runs/{run_id}", headers=person("max")).status_code == 200
        before = scrape(api)
        execute(api, "UPDATE runs SET deleted_at = now() - interval '30 hours'")
        assert len(purge_deleted(hooks.connections)) == 2
        after = scrape(api)
        assert after("basin_runs") == 0
        for name in ("basin_runs_ended_total", "basin_admissions_total"):
            assert before(name) == after(name) == 2

    def test_intake_counts_each_report_and_point_once(self, api: Api) -> None:
        trainer = api.start(api.new_run())
        before = scrape(api)
        first = (metrics(1, 1, train_loss=2.0, lr=0.1), progress(2, 1))
        for _ in range(2):
            assert api.report(trainer, *first).status_code == 200
        assert api.report(trainer, metrics(9, 2, train_loss=1.0)).status_code == 409
        after = scrape(api)
        assert after("basin_reports_total", kind="metrics") - _or_0(before, "basin_reports_total", kind="metrics") == 1
        assert (
            after("basin_reports_total", kind="progress") - _or_0(before, "basin_reports_total", kind="progress") == 1
        )
        assert after("basin_metric_points_total") - before("basin_metric_points_total") == 2


def _or_0(scrape: Scrape, name: str, **labels: str) -> float:
    """A counter with labels is not there before it has counted."""
    return scrape(name, **labels) if scrape.has(name, **labels) else 0.0


class TestCluster:
    def test_slots_by_host_and_what_gpus_report(self, api: Api) -> None:
        execute(
            api,
            "INSERT INTO cluster_nodes (node_id, host, cpus, gpus, alive) VALUES ('n1', 'gpu-a', 8, 4, true),"
            " ('n2', 'gpu-b', 8, 2, false)",
        )
        spec = {**SPEC, "resources": {"workers": 2, "gpus_per_worker": 1}}
        run_id = api.new_run(spec=spec)
        trainer = api.start(run_id)
        execute(api, """UPDATE attempts SET placement = '{"n1": 2}', gpus_per_worker = 1""")
        values = {"gpu_utilization": 65.0, "gpu_utilization/rank0": 50.0, "gpu_utilization/rank1": 80.0}
        api.report(trainer, metrics(1, 1, **values, **{"gpu_memory_bytes/rank1": 2e9, "gpu_watts/rank1": 300.0}))
        seen = scrape(api)
        states = {
            state: seen("basin_slots", host="gpu-a", kind="gpu", state=state) for state in ("used", "free", "away")
        }
        assert states == {"used": 2, "free": 2, "away": 0}
        assert seen("basin_slots", host="gpu-b", kind="gpu", state="away") == 2
        assert seen("basin_slots", host="gpu-a", kind="cpu", state="free") == 8
        place = {"run": run_id, "host": "gpu-a"}
        assert seen("basin_gpu_utilization_ratio", rank="0", **place) == pytest.approx(0.5)
        assert seen("basin_gpu_utilization_ratio", rank="1", **place) == pytest.approx(0.8)
        assert seen("basin_gpu_memory_used_bytes", rank="1", **place) == 2e9
        assert seen("basin_gpu_power_watts", rank="1", **place) == 300

    def test_slots_of_a_drained_host_are_neither_free_nor_away(self, api: Api) -> None:
        execute(
            api,
            "INSERT INTO cluster_nodes (node_id, host, cpus, gpus, alive) VALUES ('n1', 'gpu-a', 8, 4, true);"
            "INSERT INTO drained_hosts (host, by) VALUES ('gpu-a', 'user:ada')",
        )
        seen = scrape(api)
        assert seen("basin_slots", state="drained") == 12
        assert seen("basin_slots", state="free") == seen("basin_slots", state="away") == 0

    def test_canaries_heartbeats_webhooks_and_streams(self, hooks: Hooked) -> None:
        api = hooks.api
        execute(api, "INSERT INTO heartbeats (part, at) VALUES ('ray', now() - interval '90 s')")
        execute(
            api,
            "INSERT INTO canaries (sender, taken_at, round_trip_seconds) VALUES ('api', now() - interval '7 s', 0.25)"
            " ON CONFLICT (sender) DO UPDATE SET taken_at = excluded.taken_at, round_trip_seconds = 0.25",
        )
        execute(
            api,
            "INSERT INTO webhooks (id, user_id, url, secret_nonce) SELECT 'w', min(id), 'http://h', 'n' FROM users;"
            "INSERT INTO webhook_deliveries (webhook_id, message_id, type, data, next_at)"
            " VALUES ('w', 'm', 't', '{}', now() - interval '1 min')",
        )
        with listening(api):
            seen = scrape(api)
        assert seen("basin_canary_round_trip_seconds") == 0.25
        assert 7 <= seen("basin_canary_age_seconds", sender="api") < 60
        assert 90 <= seen("basin_heartbeat_age_seconds", part="ray") < 150
        assert seen("basin_webhook_deliveries_waiting") == 1
        assert 60 <= seen("basin_webhook_oldest_due_age_seconds") < 120
        assert seen("basin_stream_clients") == 1


class TestCanaries:
    def test_a_worker_that_takes_each_too_late_reads_as_slow_and_not_as_dead(self, api: Api) -> None:
        execute(
            api,
            "INSERT INTO canaries (sender, number, sent_at, taken_number, taken_at, round_trip_seconds)"
            " VALUES ('api', 9, clock_timestamp(), 6, now() - interval '10 min', 0.1) ON CONFLICT (sender) DO UPDATE"
            " SET number = 9, sent_at = excluded.sent_at, taken_number = 6, taken_at = excluded.taken_at,"
            " round_trip_seconds = 0.1",
        )
        with api.engine.begin() as connection:
            now = float(connection.execute(text("SELECT extract(epoch FROM clock_timestamp())")).scalar_one())
            note_taken(connection, "api", 8, now - 30)  # Number 9 has followed.
        seen = scrape(api)
        assert seen("basin_canary_age_seconds", sender="api") < 30
        assert 30 <= seen("basin_canary_round_trip_seconds") < 60
        with api.engine.begin() as connection:
            assert connection.execute(text("SELECT taken_number FROM canaries WHERE sender = 'api'")).scalar_one() == 6
            note_taken(connection, "api", 9, None)  # As an earlier version sent it.
            row = connection.execute(
                text("SELECT taken_number, round_trip_seconds FROM canaries WHERE sender = 'api'")
            ).one()
        assert row.taken_number == 9
        assert row.round_trip_seconds >= 30


class TestThePage:
    def test_every_name_is_declared_and_every_declared_one_is_told(self, api: Api) -> None:
        api.start(api.new_run())
        execute(api, "INSERT INTO heartbeats (part) VALUES ('ray')")
        execute(
            api,
            "INSERT INTO canaries (sender, taken_at, round_trip_seconds) VALUES ('api', now(), 0.1)"
            " ON CONFLICT (sender) DO UPDATE SET taken_at = now(), round_trip_seconds = 0.1",
        )
        page = api.http.get("/metrics").text
        assert parsed(page).names <= families.series_names()
        told = {line.split()[2] for line in page.splitlines() if line.startswith("# TYPE basin_")}
        split = {f"{families.LEASE_AGE_NAME}{suffix}" for suffix in ("_gcount", "_gsum")}
        assert told - split == set(families.basin_families())

    def test_requests_are_counted_by_template_and_not_by_path(self, api: Api) -> None:
        run_id = api.new_run()
        template = {"method": "GET", "route": "/api/v1/runs/{run_id}", "status": "200"}
        name = "basin_http_request_duration_seconds_count"
        api.run(run_id)
        before = scrape(api)(name, **template)
        api.run(run_id)
        api.http.get("/api/v1/no/such/place")
        api.http.get(f"/api/v1/runs/{run_id}")
        seen = scrape(api)
        assert seen(name, **template) - before == 1
        assert seen(name, **{**template, "status": "401"}) >= 1
        assert seen(name, route="unmatched", status="404") >= 1
        assert run_id not in " ".join(str(key) for key in seen.numbers)

    def test_without_a_database_it_answers_and_says_so(self, settings: Settings, engine: Engine) -> None:
        away = settings.model_copy(update={"database_url": f"postgresql+psycopg://basin@127.0.0.1:{free_port()}/basin"})
        settings.storage.mkdir()
        with serving(away, engine) as api:
            seen = scrape(api)
        assert seen("basin_database_up") == 0
        assert "basin_runs" not in seen.names
        assert seen("basin_storage_free_bytes") > 0
        assert seen("process_resident_memory_bytes") > 0

    def test_a_database_that_comes_back_is_told_again(self, api: Api) -> None:
        execute(api, "ALTER TABLE runs RENAME TO walks")
        assert scrape(api)("basin_database_up") == 0
        execute(api, "ALTER TABLE walks RENAME TO runs")
        assert scrape(api)("basin_database_up") == 1

    def test_storage_that_is_another_or_away_is_not_up(self, api: Api) -> None:
        assert scrape(api)("basin_storage_up") == 1
        execute(api, "UPDATE storage_proof SET proof = 'of another'")
        assert scrape(api)("basin_storage_up") == 0


class TestWhoIsAnswered:
    def test_a_neighbour_is_and_whoever_comes_through_a_proxy_is_not(self, api: Api) -> None:
        assert api.http.get("/metrics").status_code == 200
        for header in ("X-Forwarded-For", "Forwarded", "X-Real-IP", "Via", "X-Forwarded-Host"):
            answer = api.http.get("/metrics", headers={header: "203.0.113.9"})
            assert (answer.status_code, answer.json()["type"]) == (403, "not-allowed"), header
            assert "BASIN_METRICS_TOKEN" in answer.json()["detail"]

    def test_with_a_token_only_who_sends_it_even_through_a_proxy(self, settings: Settings, engine: Engine) -> None:
        with serving(settings.model_copy(update={"metrics_token": SecretStr(TOKEN)}), engine) as api:

            def status(token: str | None, **headers: str) -> int:
                sent = headers | ({"Authorization": f"Bearer {token}".encode()} if token is not None else {})
                return httpx.get(f"{api.url}/metrics", headers=sent, timeout=30).status_code

            assert (status(None), status("wrong"), status("schlüssel")) == (401, 401, 401)
            assert status(TOKEN) == 200
            assert status(TOKEN, **{"X-Forwarded-For": "203.0.113.9"}) == 200

    def test_it_is_not_part_of_the_description(self, api: Api) -> None:
        assert "/metrics" not in api.http.get("/openapi.json").json()["paths"]
