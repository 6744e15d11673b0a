"""A finished run leaves the service: exported, used for predictions, and gone on from by another run."""

from __future__ import annotations

import json
from pathlib import Path

from tests.integration.running_stack import RunningStack
from tests.integration.stack.test_run_commands import submit
from tests.unit.trainer.image_folders import make_folder, truncate


def finished(stack: RunningStack, *arguments: str) -> str:
    run_id = str(submit(stack, *arguments)["id"])
    stack.basin("run", "watch", run_id)
    return run_id


def test_a_run_is_exported_asked_about_images_and_gone_on_from(stack: RunningStack, tmp_path: Path) -> None:
    run_id = finished(stack, "--name", "to be exported")
    target = tmp_path / "out"
    told = stack.basin_json("run", "export", run_id, "--to", str(target))
    assert (told["step"], told["total_steps"], told["num_classes"]) == (6, 6, 10)
    card = (target / "README.md").read_text()
    assert "# to be exported" in card
    assert f"as run {run_id}" in card
    again = stack.basin("run", "export", run_id, "--to", str(target), check=False)
    assert again.returncode == 2
    assert "is not empty" in again.stderr

    images = make_folder(tmp_path / "images", 1, 3)
    truncate(images / "c000" / "001.png")
    answers = []
    for model in (run_id, str(target)):
        done = stack.basin("predict", model, str(images), "--top", "1", "--json", check=False)
        assert done.returncode == 1
        answers.append([json.loads(line) for line in done.stdout.splitlines()])
    assert answers[0] == answers[1]
    assert [("why" in each, "classes" in each) for each in answers[0]] == [(False, True), (True, False), (False, True)]

    tuned = finished(stack, "--set", f"model.init_from={{run: {run_id}}}", "--set", "seed=1")
    notices = stack.basin_json("run", "show", tuned)["notices"]
    [notice] = [each for each in notices if not str(each["data"]["code"]).startswith("sam_doctor")]
    assert f"runs/{run_id}/checkpoints/step-00000006" in notice["text"]


def test_an_unknown_run_is_refused(stack: RunningStack, tmp_path: Path) -> None:
    done = stack.basin("run", "export", "nobody", "--to", str(tmp_path / "out"), check=False)
    assert done.returncode == 2
    assert "there is no run 'nobody'" in done.stderr
