"""`model.init_from`: whose weights a run may start with, and what its claim then names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.integration.api.stack import SPEC, Api
from tests.integration.api.test_checkpoints import saved


def spec_from(**init: object) -> dict[str, Any]:
    return {**SPEC, "model": {**SPEC["model"], "init_from": init}}


def refused(api: Api, who: str = "mia", **init: object) -> str:
    """The field and what is allowed; the dry run must say the same."""
    answer = api.submit(who, spec=spec_from(**init))
    assert answer.status_code == 422, answer.text
    [problem] = answer.json()["errors"]
    dry = api.http.post(
        "/api/v1/runs", params={"dry_run": "true"}, headers=answer.request.headers, json={"spec": spec_from(**init)}
    )
    assert dry.json()["errors"] == [problem]
    return f"{problem['path']}: {problem['allowed']}"


@pytest.fixture
def private(api: Api) -> str:
    run_id = api.new_run("max", visibility="private")
    saved(api, run_id, 10, 20)
    return run_id


def folder_of(api: Api, run_id: str) -> Path:
    return api.settings.storage / "runs" / run_id / "checkpoints" / "step-00000010"


def test_the_claim_names_the_runs_checkpoints_newest_first(api: Api, private: str) -> None:
    trainer = api.start(api.new_run("max", spec=spec_from(run=private)))
    assert trainer.claim["resume"] == []
    assert [point["step"] for point in trainer.claim["initial"]] == [20, 10]
    assert trainer.claim["initial"][1]["path"] == str(folder_of(api, private).relative_to(api.settings.storage))
    assert api.start(api.new_run("max")).claim["initial"] == []


def test_a_run_that_is_private_to_somebody_else_is_told_like_one_that_is_not_there(api: Api, private: str) -> None:
    hidden = refused(api, run=private)
    assert hidden == refused(api, run="nobody") == "spec.model.init_from.run: must be of a run that you may see"
    assert api.submit("ada", spec=spec_from(run=private)).status_code == 201


def test_a_path_into_a_private_run_is_refused_however_it_is_written(api: Api, private: str) -> None:
    path = folder_of(api, private)
    link = api.settings.storage / "models"
    link.symlink_to(path.parent)
    for written in (str(path), str(path.relative_to(api.settings.storage)), str(path).replace("/runs/", "//runs/./"),
                    str(link / path.name), f"models/{path.name}"):  # fmt: skip
        assert refused(api, checkpoint=written) == (
            "spec.model.init_from.checkpoint: must be of a run that you may see"
        ), written
        assert api.submit("max", spec=spec_from(checkpoint=written)).status_code == 201, written


def test_a_path_outside_of_data_roots_and_storage_is_refused(api: Api, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    assert "must lie under" in refused(api, folder=str(tmp_path / "elsewhere"))
    assert "must not contain `..`" in refused(api, folder=str(api.settings.storage / ".." / "elsewhere"))
    assert "does not exist under" in refused(api, folder="models/none")
