"""GET /runs/{id}/checkpoints: where the weights lie, for those who may see the run."""

from __future__ import annotations

from tests.integration.api.stack import Api, checkpoint


def saved(api: Api, run_id: str, *steps: int) -> None:
    trainer = api.start(run_id)
    for step in steps:
        (api.settings.storage / "runs" / run_id / "checkpoints" / f"step-{step:08d}").mkdir(parents=True)
    api.report(trainer, *[checkpoint(seq, step, run_id) for seq, step in enumerate(steps, start=1)])


def test_those_on_storage_are_listed_newest_first_with_where_it_is(api: Api) -> None:
    run_id = api.new_run()
    assert api.get(f"/runs/{run_id}/checkpoints").json()["items"] == []
    saved(api, run_id, 10, 20, 30)
    (api.settings.storage / "runs" / run_id / "checkpoints" / "step-00000030").rmdir()
    told = api.get(f"/runs/{run_id}/checkpoints").json()
    assert told["storage"] == str(api.settings.storage)
    assert [each["step"] for each in told["items"]] == [20, 10]
    assert told["items"][0]["path"] == f"runs/{run_id}/checkpoints/step-00000020"


def test_a_private_run_has_none_for_others(api: Api) -> None:
    run_id = api.new_run("max", visibility="private")
    saved(api, run_id, 10)
    assert api.get(f"/runs/{run_id}/checkpoints", who="mia").status_code == 404
    assert len(api.get(f"/runs/{run_id}/checkpoints", who="ada").json()["items"]) == 1
