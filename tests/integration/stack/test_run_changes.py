"""Clone, edit, compare and cancel against a real stack, and the studies that runs form."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from cli.client import Client
from tests.integration.running_stack import RunningStack, until

SPEC = """
# A comment, and no defaults.
model: {name: vit_tiny_patch16_224, arguments: {patch_size: 4, embed_dim: 16, depth: 1, num_heads: 2}}
optimizer: {name: adamw, lr: 1e-3}
method: {name: looksam, k: 2}
global_batch_size: 64
steps: 6
"""
LIVE = ("queued", "launching", "running", "cancelling")
LONG = ("--set", "steps=100000000", "--set", "resources.workers=2", "--set", "logging.every_steps=1000")


@pytest.fixture(scope="module")
def busy(stack: RunningStack) -> Iterator[str]:
    """The id of a run that occupies the whole stack from its first use to the module's end: others wait."""
    run_id = str(waiting(stack)["id"])
    until(lambda: stack.client.run(run_id).status == "running", "the stack is busy", 300, stack.tail)
    stack.let_ranks_wait()
    yield run_id
    live = [run.id for run in stack.client.all_runs(statuses=LIVE)]
    stack.client.cancel_many(live)
    until(lambda: not list(stack.client.all_runs(statuses=LIVE)), "the queue is empty", 300, stack.tail)


def submit(stack: RunningStack, *arguments: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(stack.basin("run", "submit", "-", "--json", *arguments, text=SPEC).stdout)
    return answer


def waiting(stack: RunningStack, *arguments: str) -> dict[str, Any]:
    """A run that wants the whole stack, for longer than any test."""
    return submit(stack, *LONG, *arguments)


# The tests that train come before those that keep the stack busy.
def test_a_clone_can_be_watched_and_compared_with_its_original(stack: RunningStack) -> None:
    first = stack.basin("run", "submit", "-", "--study", "compared", "--name", "k2", "--watch", text=SPEC)
    assert "succeeded" in first.stdout
    [original] = stack.basin_json("run", "list", "--study", "compared")["items"]
    stack.basin("run", "clone", original["id"], "--set", "method.k=3", "--name", "k3", "--watch")
    ids = [run["id"] for run in reversed(stack.basin_json("run", "list", "--study", "compared")["items"])]
    told = stack.basin_json("run", "compare", *ids)
    assert told["differences"] == {"method.k": {ids[0]: 2, ids[1]: 3}}
    assert [run["id"] for run in told["runs"]] == ids
    evaluations = next(row for row in told["metrics"] if row["metric"] == "gradient_evaluations")
    assert evaluations["values"] == {ids[0]: 9.0, ids[1]: 8.0}
    loss = next(row for row in told["metrics"] if row["metric"] == "validation_loss" and row["kind"] == "final")
    values = loss["values"]
    assert loss["best"] == ([min(values, key=values.get)] if len(set(values.values())) == 2 else [])
    page = stack.basin("run", "compare", "--study", "compared").stdout
    assert "method.k" in page
    assert "optimizer.lr" not in page
    assert f"{stack.api_url}/compare?study=compared" in page
    alone = stack.basin("run", "compare", ids[0], check=False)
    assert (alone.returncode, "needs two runs" in alone.stderr) == (2, True)


def test_a_clone_is_the_request_as_it_was_sent_with_the_changes(stack: RunningStack, busy: str) -> None:
    first = submit(stack, "--name", "first", "--study", "clones", "--priority", "3", "--project", "digits")
    copy = stack.basin_json("run", "clone", first["id"], "--set", "method.k=10", "--set", "seed=2")
    assert copy["request"]["spec"] == {**first["request"]["spec"], "method": {"name": "looksam", "k": 10}, "seed": 2}
    assert (copy["name"], copy["copied_from"]) == ("first, method.k=10, seed=2", first["id"])
    assert (copy["study"], copy["priority"], copy["project"]) == ("clones", 3, "digits")
    other = stack.basin_json("run", "clone", first["id"], "--name", "other", "--study", "", "--priority", "-1")
    assert (other["name"], other["study"], other["priority"]) == ("other", None, -1)
    refused = stack.basin("run", "clone", first["id"], "--set", "method.k=0", check=False)
    assert refused.returncode == 2
    assert "method.k is 0: must be >= 1" in refused.stderr
    assert not stack.client.run(busy).is_over
    stack.basin("run", "cancel", first["id"], copy["id"], other["id"])


def test_a_queued_run_is_moved_renamed_and_put_into_a_study(stack: RunningStack, busy: str) -> None:
    second, third = waiting(stack), waiting(stack)
    assert stack.basin_json("run", "show", third["id"])["position"] == 2
    edited = stack.basin_json("run", "edit", third["id"], "--priority", "5", "--name", "urgent", "--study", "edited")
    assert (edited["priority"], edited["name"], edited["study"], edited["position"]) == (5, "urgent", "edited", 1)
    assert stack.basin_json("run", "show", second["id"])["position"] == 2
    assert stack.basin_json("run", "edit", third["id"], "--study", "")["study"] is None
    too_late = stack.basin("run", "edit", busy, "--priority", "5", check=False)
    assert too_late.returncode == 2
    assert "priority" in too_late.stderr
    nothing = stack.basin("run", "edit", third["id"], check=False)
    assert (nothing.returncode, "nothing to change" in nothing.stderr) == (2, True)
    stack.basin("run", "cancel", second["id"], third["id"])


def test_many_runs_are_cancelled_by_id_by_study_and_only_with_a_yes(stack: RunningStack, busy: str) -> None:
    ids = [waiting(stack, "--study", "doomed", "--name", f"doomed {number}")["id"] for number in range(4)]
    some = stack.basin("run", "cancel", ids[0], ids[1], "nosuchrun", "--json", check=False)
    done = json.loads(some.stdout)
    assert (done["cancelled"], [each["run_id"] for each in done["refused"]]) == (ids[:2], ["nosuchrun"])
    assert some.returncode == 1
    asked = stack.basin("run", "cancel", "--study", "doomed", check=False, text="")
    assert (asked.returncode, "this would cancel 2 runs: say --yes" in asked.stderr) == (2, True)
    assert not stack.client.run(ids[2]).is_over
    assert stack.basin("run", "cancel", "--study", "doomed", "--status", "queued", "--yes").stdout == "2 cancelled\n"
    assert {stack.client.run(run_id).status for run_id in ids} == {"cancelled"}
    assert not stack.client.run(busy).is_over
    neither = stack.basin("run", "cancel", check=False)
    assert (neither.returncode, "give either ids" in neither.stderr) == (2, True)


def test_studies_and_searches_list_what_belongs_together(stack: RunningStack, busy: str) -> None:
    wanted = [waiting(stack, "--study", "listed one", "--name", f"Needle {number}")["id"] for number in range(2)]
    waiting(stack, "--study", "listed two")
    study = next(row for row in stack.basin_json("study", "list")["items"] if row["name"] == "listed one")
    assert (study["runs"], study["live"]) == (2, 2)
    assert [row["name"] for row in stack.basin_json("study", "list", "--query", "TWO")["items"]] == ["listed two"]
    assert "listed one" in stack.basin("study", "list").stdout
    found = stack.basin_json("run", "list", "--study", "listed one", "--query", "needle")["items"]
    assert [run["id"] for run in found] == wanted[::-1]


def test_a_dry_run_tells_what_would_be_and_queues_nothing(stack: RunningStack) -> None:
    before = stack.basin_json("run", "list", "--limit", "1")
    told = json.loads(stack.basin("run", "submit", "-", "--dry-run", "--json", text=SPEC).stdout)
    assert (told["total_steps"], told["gradient_evaluations"]) == (6, 9)
    assert told["spec"]["method"]["rho"] == 0.05
    assert stack.basin("run", "submit", "-", "--dry-run", text=SPEC).stdout == told["summary"] + "\n"
    assert stack.basin_json("run", "list", "--limit", "1") == before


def test_the_example_is_accepted_as_it_is_printed(stack: RunningStack) -> None:
    example = stack.basin("spec", "init", "--method", "look_layersam").stdout
    told = json.loads(stack.basin("run", "submit", "-", "--dry-run", "--json", text=example).stdout)
    assert told["spec"]["method"]["name"] == "look_layersam"


def test_pages_of_runs_are_read_to_their_end(stack: RunningStack, busy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = {waiting(stack, "--study", "paged")["id"] for _ in range(3)}
    monkeypatch.setattr("cli.client.PAGE", 2)
    with Client(stack.api_url, stack.token) as client:
        assert {run.id for run in client.all_runs(study="paged")} == ids
