"""POST /runs?dry_run=true checks and predicts like a submission, and stores nothing; folders lie in the roots."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis
from sqlalchemy import Engine, inspect, text

from api.settings import Settings
from tests.integration.api.conftest import serving
from tests.integration.api.stack import SPEC, Api, person

FOLDER: dict[str, Any] = SPEC | {"data": {"source": "image_folder", "train": "pets/train"}}


@pytest.fixture
def rooted(settings: Settings, engine: Engine, tmp_path: Path) -> Iterator[Api]:
    """An API with one data root that holds `pets/train`."""
    (tmp_path / "data" / "pets" / "train").mkdir(parents=True)
    with serving(settings.model_copy(update={"data_roots": (tmp_path / "data",)}), engine) as api:
        yield api


def try_it(api: Api, who: str = "max", **fields: Any) -> httpx.Response:
    return api.http.post("/api/v1/runs", headers=person(who), params={"dry_run": "true"}, json={"spec": SPEC, **fields})


def rows(engine: Engine) -> dict[str, int]:
    with engine.connect() as connection:
        return {
            table: connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one()
            for table in inspect(engine).get_table_names()
        }


class TestDryRun:
    def test_it_predicts_and_leaves_nothing_behind(self, api: Api) -> None:
        api.new_run()
        api.new_run(priority=-1)
        before = rows(api.engine)
        with redis.Redis.from_url(api.settings.broker_url) as broker, broker.pubsub() as channel:
            broker.delete("celery")
            channel.subscribe("basin:changes")
            answer = try_it(api)
            assert answer.status_code == 200, answer.text
            assert api.messages() == []
            heard = [channel.get_message(timeout=0.3), channel.get_message(timeout=0.3)]
            assert [message["type"] for message in heard if message] == ["subscribe"]
        assert rows(api.engine) == before
        prediction = answer.json()
        assert prediction.keys() == {"name", "spec", "total_steps", "gradient_evaluations", "position", "summary"}
        assert (prediction["total_steps"], prediction["gradient_evaluations"], prediction["position"]) == (100, 120, 2)
        assert prediction["spec"]["method"]["alpha"] == "auto"
        assert prediction["summary"] == (
            "vit_tiny_patch16_224 with looksam over adamw: 100 steps of 64 images with 120 gradient evaluations,"
            " 2 workers on 2 CPU slots, place 2 in the queue."
        )

    def test_priority_moves_the_place(self, api: Api) -> None:
        api.new_run()
        assert [try_it(api, priority=priority).json()["position"] for priority in (-1, 0, 1)] == [2, 2, 1]

    def test_the_length_in_epochs_where_the_images_can_be_counted(self, rooted: Api) -> None:
        in_epochs = {name: value for name, value in SPEC.items() if name != "steps"} | {"epochs": 3}
        assert try_it(rooted, spec=in_epochs).json()["total_steps"] == 68
        folder = in_epochs | {"data": FOLDER["data"]}
        prediction = try_it(rooted, spec=folder).json()
        assert (prediction["total_steps"], prediction["gradient_evaluations"]) == (None, None)
        assert "3 epochs of 64 images," in prediction["summary"]

    @pytest.mark.parametrize(
        "fields",
        [
            {"spec": SPEC | {"colour": "red"}},
            {"spec": SPEC | {"method": {"name": "layersam"}}},
            {"spec": SPEC | {"data": {"source": "digits", "train_size": 1700}}},
            {"spec": SPEC | {"data": {"source": "digits", "validation_fraction": 0.0001}}},
            {"spec": FOLDER},
            {"copied_from": "0" * 12},
            {"study": "a\nb"},
            {"priority": 9999},
        ],
    )
    def test_what_is_wrong_is_told_as_for_a_submission(self, api: Api, fields: dict[str, Any]) -> None:
        dry, real = try_it(api, **fields), api.submit(**fields)
        assert dry.status_code == real.status_code == 422, dry.text
        assert dry.json() == real.json()
        assert api.count("runs") == 0

    def test_viewers_and_strangers_are_refused_as_for_a_submission(self, api: Api) -> None:
        assert try_it(api, "vic").status_code == 403
        answer = api.http.post("/api/v1/runs", params={"dry_run": "true"}, json={"spec": SPEC})
        assert answer.status_code == 401

    def test_a_private_run_is_not_revealed_as_an_origin(self, api: Api) -> None:
        private = api.new_run("max", visibility="private")
        assert try_it(api, "max", copied_from=private).status_code == 200
        hidden, missing = try_it(api, "mia", copied_from=private), try_it(api, "mia", copied_from="0" * 12)
        assert hidden.text.replace(private, "0" * 12) == missing.text

    def test_a_word_that_is_no_truth_value_is_a_mistake_and_no_submission(self, api: Api) -> None:
        answer = api.http.post("/api/v1/runs", headers=person("max"), params={"dry_run": "maybe"}, json={"spec": SPEC})
        assert answer.status_code == 422
        assert api.count("runs") == 0


class TestDataRoots:
    def test_a_folder_under_the_root_is_taken_and_the_claim_carries_the_roots(
        self, rooted: Api, tmp_path: Path
    ) -> None:
        trainer = rooted.start(rooted.new_run(spec=FOLDER))
        assert trainer.claim["data_roots"] == [str(tmp_path / "data")]
        assert rooted.run(trainer.claim["run_id"])["data"] == "image_folder"

    @pytest.mark.parametrize("path", ["../x", "/etc", "pets/../../x", "nothing", "way-out"])
    def test_what_lies_or_leads_elsewhere_is_refused_by_its_field(self, rooted: Api, tmp_path: Path, path: str) -> None:
        (tmp_path / "data" / "way-out").symlink_to("/etc")
        for field in ("train", "validation"):
            data = FOLDER["data"] | {field: path}
            answer = rooted.submit(spec=FOLDER | {"data": data})
            assert answer.status_code == 422, answer.text
            [problem] = answer.json()["errors"]
            assert problem["path"] == f"spec.data.{field}"
            assert problem["value"] == path
        assert rooted.count("runs") == 0

    def test_without_a_root_it_says_what_to_set(self, api: Api) -> None:
        answer = api.submit(spec=FOLDER)
        assert answer.status_code == 422
        assert "BASIN_DATA_ROOTS" in answer.json()["detail"]
        assert api.start(api.new_run()).claim["data_roots"] == []
