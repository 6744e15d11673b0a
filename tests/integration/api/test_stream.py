"""GET /stream: what changed arrives after the commit, for those who may see it, and the broker may come and go."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from api.routes import following
from api.settings import Settings
from tests.integration.api.conftest import serving
from tests.integration.api.listening import listening
from tests.integration.api.stack import Api, metrics
from tests.integration.services import free_port, valkey_server


def test_a_submitted_run_arrives_with_its_summary(api: Api) -> None:
    with listening(api) as ear:
        run_id = api.new_run(name="live")
        summary = ear.next("run")
        [listed] = api.get("/runs").json()["items"]
        assert summary == listed
        assert (summary["id"], summary["status"], summary["position"]) == (run_id, "queued", 1)


def test_a_watched_run_tells_metrics_and_events_too(api: Api) -> None:
    run_id, other = api.new_run(), api.new_run()
    with listening(api, topics=f"run:{run_id}") as ear:
        api.start(other)
        trainer = api.start(run_id)
        started = ear.next("event")
        assert (started["run_id"], started["text"]) == (run_id, "Training started.")
        api.report(trainer, metrics(1, 5, train_loss=1.5, alpha="nan"))
        expected = {"run_id": run_id, "attempt": 1, "step": 5, "values": {"train_loss": 1.5, "alpha": None}}
        assert ear.next("metrics") == expected
        api.cancel(run_id)
        assert ear.next("event")["data"]["to"] == "cancelling"


def test_the_list_topic_is_spared_metrics_and_events(api: Api) -> None:
    with listening(api) as ear:
        trainer = api.start(api.new_run())
        api.report(trainer, metrics(1, 5, train_loss=1.5))
        while ear.next("run")["step"] != 5:
            pass
        api.new_run(name="last")
        while ear.next("run")["name"] != "last":
            pass
        assert {heard.kind for heard in ear.heard()} <= {"run"}


def test_a_private_run_is_not_told_to_others(api: Api) -> None:
    with listening(api, "mia") as mia, listening(api, "ada") as ada:
        private = api.new_run("max", visibility="private")
        shared = api.new_run("max")
        assert [ada.next("run")["id"], ada.next("run")["id"]] == [private, shared]
        assert mia.next("run")["id"] == shared


def test_what_was_rolled_back_is_not_told(api: Api) -> None:
    with api.engine.begin() as connection:
        connection.execute(
            text(
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
                " $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '57014'; END $$"
            )
        )
        connection.execute(
            text(
                "CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON runs DEFERRABLE INITIALLY DEFERRED"
                " FOR EACH ROW WHEN (NEW.name = 'refused') EXECUTE FUNCTION refuse()"
            )
        )
    with listening(api) as ear:
        assert api.submit(name="refused").status_code == 503
        api.new_run(name="taken")
        assert ear.next("run")["name"] == "taken"


@pytest.mark.parametrize("topics", ["", "everything", "run:", "run:A", ",".join(f"run:{i}" for i in range(101))])
def test_bad_topics_are_a_mistake(api: Api, topics: str) -> None:
    answer = api.get("/stream", topics=topics)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["path"] == "query.topics"


def test_streams_hold_no_database_connection(api: Api) -> None:
    with listening(api), listening(api), listening(api), api.engine.connect() as connection:
        busy = connection.execute(
            text(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                " AND application_name = 'basin-api' AND state LIKE 'idle in transaction%'"
            )
        ).scalar_one()
        assert busy == 0


def test_a_stream_ends_by_itself(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "STREAM_LIFE_SECONDS", 0.3)
    with listening(api) as ear:
        ear.next("end")


def test_a_broker_that_is_away_costs_time_and_nothing_else(settings: Settings, engine: Engine, tmp_path: Path) -> None:
    port = free_port()
    broken = settings.model_copy(update={"broker_url": f"redis://127.0.0.1:{port}/0"})
    with serving(broken, engine) as api, listening(api) as ear:
        first = api.new_run(name="without a broker")  # Answered before there is one: it did not wait for it.
        assert ear.next("run")["id"] == first
        with valkey_server(tmp_path, port=port):
            second = api.new_run(name="with a broker")
            assert ear.next("run")["id"] == second
        third = api.new_run(name="without it again")
        assert ear.next("run")["id"] == third
        assert ear.heard() == []
