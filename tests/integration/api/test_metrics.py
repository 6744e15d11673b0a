"""GET /runs/{id}/metrics: columns, bounded, the same bytes for the same points."""

from __future__ import annotations

import httpx
import pytest
from sqlalchemy import text

from tests.integration.api.stack import Api, metrics, person
from trainer.contract.metrics import CATALOGUE


@pytest.fixture
def run_id(api: Api) -> str:
    run_id = api.new_run()
    trainer = api.start(run_id)
    api.report(trainer, *[metrics(i, i, train_loss=1.0 / i, validation_top1=float(i)) for i in range(1, 101)])
    return run_id


def fetch(api: Api, run_id: str, etag: str | None = None, **query: object) -> httpx.Response:
    headers = person("max") | ({"If-None-Match": etag} if etag else {})
    return api.http.get(f"/api/v1/runs/{run_id}/metrics", headers=headers, params=query)


def test_a_short_series_comes_whole(api: Api, run_id: str) -> None:
    loss, top1 = fetch(api, run_id).json()["series"]
    assert (loss["name"], top1["name"]) == ("train_loss", "validation_top1")
    assert loss["steps"] == list(range(1, 101))
    assert loss["values"] == [1.0 / i for i in range(1, 101)]
    assert (loss["minima"], loss["maxima"], loss["bucket_steps"]) == (None, None, 1)


def test_only_the_named_ones(api: Api, run_id: str) -> None:
    series = fetch(api, run_id, names="validation_top1,none_such").json()["series"]
    assert [s["name"] for s in series] == ["validation_top1"]


@pytest.mark.parametrize("most", [2, 3, 10, 99])
def test_a_long_series_comes_in_buckets_that_keep_every_spike(api: Api, run_id: str, most: int) -> None:
    with api.engine.begin() as connection:
        connection.execute(text("UPDATE metric_points SET value = 77 WHERE step = 42"))
        connection.execute(text("UPDATE metric_points SET value = 'NaN' WHERE step = 43"))
    [loss] = fetch(api, run_id, names="train_loss", max_points=most).json()["series"]
    assert 2 <= len(loss["steps"]) <= most
    assert len({len(loss[column]) for column in ("steps", "values", "minima", "maxima")}) == 1
    assert loss["steps"] == sorted(set(loss["steps"]))
    assert loss["steps"][-1] == 100
    assert loss["values"][-1] == 0.01
    assert max(loss["maxima"]) == 77
    assert min(loss["minima"]) == 0.01


def test_a_bucket_without_a_finite_number_is_null(api: Api, run_id: str) -> None:
    with api.engine.begin() as connection:
        connection.execute(text("UPDATE metric_points SET value = 'NaN'"))
    [loss] = fetch(api, run_id, names="train_loss", max_points=5).json()["series"]
    assert set(loss["values"] + loss["minima"] + loss["maxima"]) == {None}


def test_the_same_points_give_the_same_bytes_and_need_not_be_sent_again(api: Api, run_id: str) -> None:
    first, second = fetch(api, run_id, max_points=10), fetch(api, run_id, max_points=10)
    assert first.content == second.content
    again = fetch(api, run_id, first.headers["ETag"], max_points=10)
    assert (again.status_code, again.content) == (304, b"")
    with api.engine.begin() as connection:
        connection.execute(text("DELETE FROM metric_points WHERE step = 100"))
    assert fetch(api, run_id, first.headers["ETag"], max_points=10).status_code == 200


def test_a_growing_run_changes_only_its_last_bucket(api: Api) -> None:
    run_id = api.new_run()
    trainer = api.start(run_id)
    api.report(trainer, *[metrics(i, i, train_loss=float(i)) for i in range(1, 71)])
    [before] = fetch(api, run_id, max_points=20).json()["series"]
    api.report(trainer, *[metrics(i, i, train_loss=float(i)) for i in range(71, 73)])
    [after] = fetch(api, run_id, max_points=20).json()["series"]
    assert before["bucket_steps"] == after["bucket_steps"] == 4
    assert after["steps"][: len(before["steps"]) - 1] == before["steps"][:-1]


@pytest.mark.parametrize("query", [{"max_points": 1}, {"max_points": 100_000}, {"max_points": "many"}])
def test_bounds(api: Api, run_id: str, query: dict[str, object]) -> None:
    assert fetch(api, run_id, **query).status_code == 422


def test_the_catalogue_says_what_each_means(api: Api) -> None:
    entries = api.get("/metrics/catalogue").json()
    assert [entry["name"] for entry in entries] == [metric.name for metric in CATALOGUE]
    assert entries[0].keys() == {"name", "title", "unit", "direction", "deterministic", "group", "description"}
