"""What an operator does to a whole stack: a look at every part, a backup that is brought back, a drained node."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PIL import Image

from tests.integration.running_stack import RunningStack, until
from tests.integration.stack.test_run_changes import LONG
from tests.integration.stack.test_run_changes import submit as submit_run

DISK_CHECKS = {"storage disk", "spool disk", "temporary disk", "shared memory"}
"""What the machine of the tests has of these is its own affair."""


def submit(stack: RunningStack) -> str:
    return str(submit_run(stack)["id"])


def trained(stack: RunningStack) -> str:
    """The id of a run that is over, and well."""
    run_id = submit(stack)
    until(lambda: stack.client.run(run_id).status == "succeeded", "it ran", 300, stack.tail)
    return run_id


def looked(stack: RunningStack, *, code: int) -> dict[tuple[str, str], dict[str, Any]]:
    done = stack.basin("doctor", "--json", check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return {(each["part"], each["check"]): each for each in json.loads(done.stdout)["findings"]}


class TestDoctor:
    def test_every_part_of_a_fresh_stack_is_well(self, stack: RunningStack) -> None:
        done = stack.basin("doctor", "--json", check=False)
        findings = json.loads(done.stdout)["findings"]
        wrong = [each for each in findings if each["verdict"] != "ok" and each["check"] not in DISK_CHECKS]
        assert not wrong
        parts = {each["part"] for each in findings}
        assert {"this machine", "api", "celery worker"} < parts
        [node] = [part for part in parts if part.startswith("node ")]
        checks = {each["check"] for each in findings if each["part"] == node}
        assert {"shared storage", "API", "clock", "version", "Ray", "all-reduce (gloo)"} < checks
        assert not list((stack.home / "storage").glob(".doctor-*"))

    def test_without_an_api_the_rest_is_looked_at_all_the_same(self, stack: RunningStack) -> None:
        stack.stop("api")
        try:
            found = looked(stack, code=1)
        finally:
            stack.start("api")
        assert found["this machine", "API"]["verdict"] == "failed"
        assert "basin up" in found["this machine", "API"]["remedy"]
        for check in ("database", "database password", "broker policy", "broker password", "storage", "migrations"):
            assert found["this machine", check]["verdict"] == "ok", found["this machine", check]

    def test_without_a_database_that_is_what_is_found(self, stack: RunningStack) -> None:
        stack.stop("postgres")
        try:
            found = looked(stack, code=1)
        finally:
            stack.start("postgres")
        assert "database does not answer" in found["api", "looks"]["found"]
        assert "Start PostgreSQL" in found["this machine", "database"]["remedy"]
        assert found["this machine", "broker"]["verdict"] == "ok"

    def test_a_person_reads_what_is_wrong_and_what_to_do(self, stack: RunningStack) -> None:
        stack.stop("valkey")
        try:
            done = stack.basin("doctor", check=False)
        finally:
            stack.start("valkey")
        assert done.returncode == 1
        assert "broker" in done.stdout
        assert "needed: an answer" in done.stdout
        assert "failed" in done.stdout.splitlines()[-1]


class TestBackup:
    def test_what_was_trained_is_back_after_it_was_deleted(self, stack: RunningStack, tmp_path: Path) -> None:
        run_id = trained(stack)
        before = stack.client.metrics(run_id, ["train_loss"])
        folder = tmp_path / "backup"
        made = stack.basin_json("admin", "backup", str(folder))
        assert made["rows"]["runs"] >= 1
        assert made["rows"]["metric_points"] > 0
        assert stack.basin("admin", "restore", str(folder), "--dry-run").stdout.startswith(f"{folder} is whole")
        refused = stack.basin("admin", "restore", str(folder), "--yes", check=False)
        assert (refused.returncode, "--replace removes them" in refused.stderr) == (2, True)
        assert stack.seen("api")["state"] == "ready"
        later = submit(stack)
        stack.basin("run", "cancel", later, "--now")
        restored = stack.basin("admin", "restore", str(folder), "--replace", "--yes")
        assert "gone then  " in restored.stdout
        assert stack.client.metrics(run_id, ["train_loss"]) == before
        assert stack.basin("run", "show", later, check=False).returncode == 2
        assert stack.client.checkpoints(run_id).items
        assert trained(stack)


class TestDrain:
    def test_a_run_waits_for_the_drained_node_and_starts_when_it_takes_runs_again(self, stack: RunningStack) -> None:
        [node] = stack.basin_json("admin", "nodes")["items"]
        drained = stack.basin("admin", "drain", node["host"], "--reason", "new driver")
        assert "drained: empty (new driver)" in drained.stdout
        run_id = submit(stack)
        until(
            lambda: "drained" in (stack.client.run(run_id).wait_reason or ""),
            "the run says for what it waits", 120, lambda: stack.client.run(run_id),
        )  # fmt: skip
        stack.basin("admin", "undrain", node["host"])
        until(lambda: stack.client.run(run_id).status == "succeeded", "it ran", 300, stack.tail)

    def test_a_run_that_trains_there_is_moved_off_with_a_checkpoint_and_goes_on(self, stack: RunningStack) -> None:
        [node] = stack.basin_json("admin", "nodes")["items"]
        run_id = str(submit_run(stack, *LONG)["id"])
        look = lambda: stack.client.run(run_id)  # noqa: E731
        until(lambda: look().status == "running" and look().step > 0, "it trains", 300, look)
        assert run_id in stack.basin_json("admin", "drain", node["host"], "--move")["runs"]
        until(lambda: look().status == "queued" and "drained" in (look().wait_reason or ""), "it waits", 300, look)
        assert stack.client.checkpoints(run_id).items
        saved = look().step
        stack.basin("admin", "undrain", node["host"])
        until(lambda: look().status == "running" and look().step > saved, "it goes on", 300, look)
        stack.basin("run", "cancel", run_id, "--now")
        until(lambda: look().status == "cancelled", "it is over", 300, look)

    def test_a_node_that_is_not_there_is_refused_with_those_there_are(self, stack: RunningStack) -> None:
        refused = stack.basin("admin", "drain", "nowhere", check=False)
        assert refused.returncode == 2
        assert "those known are" in refused.stderr


class TestCollect:
    def test_it_says_what_would_go(self, stack: RunningStack) -> None:
        said = stack.basin("admin", "collect", "--dry-run").stdout
        assert "BASIN_LOGS_KEPT_DAYS" in said
        assert "would be freed" in said


class TestUpload:
    def test_a_data_set_that_was_sent_can_be_checked_under_the_root(self, stack: RunningStack, tmp_path: Path) -> None:
        for number in range(6):
            path = tmp_path / "pets" / f"class-{number % 2}" / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (32, 32), (number * 40, 0, 0)).save(path)
        assert "6 files" in stack.basin("data", "upload", str(tmp_path / "pets"), "pets").stdout
        checked = stack.basin_json("data", "check", str(stack.home / "data" / "pets"))
        assert [folder["images"] for folder in checked["folders"]] == [6]
        again = stack.basin("data", "upload", str(tmp_path / "pets"), "pets", check=False)
        assert (again.returncode, "choose another name" in again.stderr) == (2, True)
