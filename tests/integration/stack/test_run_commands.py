"""`basin run ...` against a real stack, as a person or a script uses it."""

from __future__ import annotations

import json

import pytest

from tests.integration.running_stack import RunningStack

SPEC = """
model: {name: vit_tiny_patch16_224, arguments: {patch_size: 4, embed_dim: 16, depth: 1, num_heads: 2}}
optimizer: {name: adamw, lr: 1e-3}
method: {name: looksam}
global_batch_size: 64
steps: 6
logging: {every_steps: 1}
"""


def submit(stack: RunningStack, *arguments: str) -> dict[str, object]:
    answer: dict[str, object] = json.loads(stack.basin("run", "submit", "-", "--json", *arguments, text=SPEC).stdout)
    return answer


def test_a_run_is_submitted_watched_to_its_end_listed_and_shown(stack: RunningStack) -> None:
    watched = stack.basin("run", "submit", "-", "--name", "watched one", "--watch", text=SPEC).stdout
    assert "watched one" in watched
    assert "6/6  succeeded" in watched
    [listed] = stack.basin_json("run", "list", "--limit", "1")["items"]
    assert (listed["name"], listed["status"], listed["method"]) == ("watched one", "succeeded", "looksam")
    shown = stack.basin_json("run", "show", listed["id"])
    assert shown["latest"]["train_loss"]["step"] == 6
    page = stack.basin("run", "show", listed["id"]).stdout
    assert f"{stack.api_url}/runs/{listed['id']}" in page
    assert listed["id"] in stack.basin("run", "list", "--status", "succeeded").stdout


def test_watching_in_json_gives_a_line_for_each_change_to_the_end(stack: RunningStack) -> None:
    run_id = str(submit(stack)["id"])
    lines = [json.loads(line) for line in stack.basin("run", "watch", run_id, "--json").stdout.splitlines()]
    assert {line["id"] for line in lines} == {run_id}
    assert lines[-1]["status"] == "succeeded"
    steps = [line["step"] for line in lines]
    assert steps == sorted(steps)


def test_one_key_gives_one_run_and_another_body_is_refused(stack: RunningStack) -> None:
    first, second = (submit(stack, "--idempotency-key", "a-key-of-the-test") for _ in range(2))
    assert first["id"] == second["id"]
    other = stack.basin(
        "run", "submit", "-", "--idempotency-key", "a-key-of-the-test", "--set", "steps=7", text=SPEC, check=False
    )
    assert other.returncode == 2
    assert other.stderr.startswith("basin: ")


def test_a_cancelled_run_ends_cancelled_and_watching_it_exits_1(stack: RunningStack) -> None:
    run_id = str(submit(stack, "--set", "steps=100000")["id"])
    stack.basin("run", "cancel", run_id)
    watched = stack.basin("run", "watch", run_id, check=False)
    assert watched.returncode == 1
    assert stack.basin_json("run", "cancel", run_id)["status"] == "cancelled"


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("method.rho=-1", "method.rho is -1: must be >= 0"),
        ("resources.workers=64", "resources.workers"),
        ("resources.gpus_per_worker=1", "resources.gpus_per_worker"),
    ],
)
def test_what_can_never_run_is_refused_in_one_sentence(setting: str, told: str, stack: RunningStack) -> None:
    done = stack.basin("run", "submit", "-", "--set", setting, text=SPEC, check=False)
    assert done.returncode == 2
    assert told in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_wrong_token_and_an_unknown_id_have_exit_codes_of_their_own(stack: RunningStack) -> None:
    refused = stack.basin("run", "list", "--token", "basin_wrong", check=False)
    assert (refused.returncode, "BASIN_TOKEN" in refused.stderr) == (3, True)
    unknown = stack.basin("run", "show", "0000", check=False)
    assert unknown.returncode == 2
    assert "0000" in unknown.stderr
