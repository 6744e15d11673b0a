"""A run on a real local Ray, two gloo processes, and a small real server in the API's place."""

from __future__ import annotations

import math
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.integration.trainer.launching import (
    RayHead,
    digits_spec,
    read_json_lines,
    running,
    signal_process,
)
from trainer.contract.ends import EndReason
from trainer.contract.metrics import BY_NAME
from trainer.contract.reports import Command, Writer

LONG = {"steps": 100_000, "checkpoint": {"every_steps": 100_000}}


def test_two_workers_train_and_every_number_arrives(ray_head: RayHead, tmp_path: Path) -> None:
    with running(ray_head, tmp_path, digits_spec()) as trainer:
        assert trainer.wait() == 0, trainer.all_logs()
        assert trainer.end() == (EndReason.completed, "")
        server = trainer.server
        metrics = server.of(Writer.rank0, "metrics")
        assert [report.step for report in metrics] == list(range(1, 31))
        assert all(name in BY_NAME for report in metrics for name in report.values)
        assert all(math.isfinite(report.values["train_loss"]) for report in metrics)
        assert server.sequence(Writer.rank0) == list(range(1, len(server.reports[Writer.rank0]) + 1))
        (started,) = server.of(Writer.driver, "started")
        assert started.environment.devices == ["cpu", "cpu"]
        assert server.of(Writer.driver, "lease")[0].doing
        progress = server.of(Writer.rank0, "progress")
        assert progress[0].first_step_at is not None
        assert (progress[-1].step, progress[-1].total_steps) == (30, 30)
        checkpoints = server.of(Writer.rank0, "checkpoint")
        assert [report.step for report in checkpoints] == [10, 20, 30]
        newest = tmp_path / "storage" / checkpoints[-1].path
        assert newest.is_dir()
        for line in _unsent_in(newest):
            assert line["attempt_id"] == "a1"
        assert server.claims[0].storage_proof == "the-proof"
        assert "Rank 1 of 2" in trainer.log("rank-1")
        assert not list((tmp_path / "spool").iterdir())
        trainer.until_gone(0)
        trainer.until_gone(1)


def _unsent_in(checkpoint: Path) -> list[dict[str, Any]]:
    path = checkpoint / "unsent-rank0.jsonl"
    return read_json_lines(path) if path.exists() else []


def test_a_run_resumes_where_its_checkpoint_ends(ray_head: RayHead, tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    with running(ray_head, tmp_path / "first", digits_spec()) as trainer:
        assert trainer.wait() == 0, trainer.all_logs()
        undisturbed = {r.step: r.values["train_loss"] for r in trainer.server.of(Writer.rank0, "metrics")}
        checkpoints = tmp_path / "first/storage/runs/r1/checkpoints"
    target = tmp_path / "second/storage/runs/r1"
    resume = [{"step": 20, "path": "runs/r1/checkpoints/step-00000020"}]
    with running(
        ray_head, tmp_path / "second", digits_spec(), resume=resume, attempt_number=2, keep=checkpoints
    ) as trainer:
        assert trainer.wait() == 0, trainer.all_logs()
        metrics = trainer.server.of(Writer.rank0, "metrics")
        assert {r.step: r.values["train_loss"] for r in metrics} == {s: undisturbed[s] for s in range(21, 31)}
    assert (target / "attempts/2/log/rank-0.log").exists()


def test_a_killed_rank_ends_the_group_and_is_named(ray_head: RayHead, tmp_path: Path) -> None:
    with running(ray_head, tmp_path, digits_spec(**LONG)) as trainer:
        trainer.until_trained(5)
        signal_process(trainer.process_of(1), signal.SIGKILL)
        assert trainer.wait(60) == 1
        reason, detail = trainer.end()
        assert reason is EndReason.trainer_crashed
        assert detail.startswith(f"Rank 1 (process {trainer.process_of(1)}"), detail
        trainer.until_gone(0)
        steps = [report.step for report in trainer.server.of(Writer.rank0, "metrics")]
        assert steps == list(range(1, len(steps) + 1)), "rank 0 delivers what it has before it is ended"


def test_a_killed_rank_0_ends_the_group_and_its_spool_is_delivered(ray_head: RayHead, tmp_path: Path) -> None:
    with running(ray_head, tmp_path, digits_spec(**LONG)) as trainer:
        trainer.until_trained(5)
        signal_process(trainer.process_of(0), signal.SIGKILL)
        assert trainer.wait(60) == 1
        reason, detail = trainer.end()
        assert (reason, detail.split(" (")[0]) == (EndReason.trainer_crashed, "Rank 0")
        trainer.until_gone(1)
        numbers = trainer.server.sequence(Writer.rank0)
        assert numbers == list(range(1, len(numbers) + 1))
        assert not list((tmp_path / "spool").iterdir())


def test_a_hung_rank_ends_the_group_and_is_named(ray_head: RayHead, tmp_path: Path) -> None:
    with running(ray_head, tmp_path, digits_spec(**LONG), timeouts={"join": 60, "hang": 4}) as trainer:
        trainer.until_trained(5)
        signal_process(trainer.process_of(1), signal.SIGSTOP)
        assert trainer.wait(60) == 1
        reason, detail = trainer.end()
        assert reason is EndReason.trainer_hung
        assert detail.startswith("Rank 1 of 2"), detail
        assert "all_reduce" in trainer.log("rank-0"), "the rank that waited wrote where it stood"
        trainer.until_gone(1)


def test_a_model_argument_that_timm_refuses_rejects_the_spec(ray_head: RayHead, tmp_path: Path) -> None:
    spec = digits_spec(model={"name": "vit_tiny_patch16_224", "arguments": {"embed_dimension": 16}})
    with running(ray_head, tmp_path, spec) as trainer:
        assert trainer.wait() == 1
        reason, detail = trainer.end()
        assert reason is EndReason.spec_rejected_by_trainer
        assert "model.arguments" in detail
        assert "embed_dimension" in detail
        assert "Traceback" not in detail


@pytest.mark.parametrize(
    ("command", "reason"),
    [(Command.stop, EndReason.cancelled_by_user), (Command.pause, EndReason.paused)],
)
def test_a_stop_or_a_pause_saves_a_checkpoint_and_ends_as_it_was_told(
    command: Command, reason: EndReason, ray_head: RayHead, tmp_path: Path
) -> None:
    with running(ray_head, tmp_path, digits_spec(**LONG)) as trainer:
        trainer.until_trained(5)
        trainer.server.command = command
        assert trainer.wait(60) == 0
        assert trainer.end()[0] is reason
        (checkpoint,) = trainer.server.of(Writer.rank0, "checkpoint")
        assert (tmp_path / "storage" / checkpoint.path).is_dir()


def test_sigterm_saves_in_time_and_says_so(ray_head: RayHead, tmp_path: Path) -> None:
    with running(ray_head, tmp_path, digits_spec(**LONG)) as trainer:
        trainer.until_trained(5)
        trainer.process.terminate()
        assert trainer.wait(30) == 1
        reason, detail = trainer.end()
        assert (reason, detail) == (EndReason.node_lost, "Ray stopped the job (SIGTERM); a checkpoint was saved.")
        assert trainer.server.of(Writer.rank0, "checkpoint")
        trainer.until_gone(1)


def test_a_superseded_attempt_ends_at_once_and_saves_nothing(ray_head: RayHead, tmp_path: Path) -> None:
    with running(ray_head, tmp_path, digits_spec(**LONG)) as trainer:
        trainer.until_trained(5)
        trainer.server.superseded = True
        assert trainer.wait(60) == 0
        assert not trainer.server.of(Writer.driver, "ended")
        assert not list((tmp_path / "storage/runs/r1").glob("checkpoints/step-*"))
        assert not list((tmp_path / "storage/runs/r1/attempts/1").glob("unsent-*"))


def test_reports_of_a_run_that_ends_during_an_outage_are_stored(ray_head: RayHead, tmp_path: Path) -> None:
    spec = digits_spec(steps=400, checkpoint={"every_steps": 1000})
    with running(ray_head, tmp_path, spec, timeouts={"join": 60, "hang": 60, "deliver": 1}) as trainer:
        trainer.until_trained(5)
        trainer.server.down()
        assert trainer.wait(120) == 0, trainer.all_logs()
        attempt = tmp_path / "storage/runs/r1/attempts/1"
        stored = read_json_lines(attempt / "unsent-rank0.jsonl")
        delivered = trainer.server.sequence(Writer.rank0)
        numbers = [line["seq"] for line in stored]
        assert sorted({*delivered, *numbers}) == list(range(1, numbers[-1] + 1))
        ended = read_json_lines(attempt / "unsent-driver.jsonl")[-1]
        assert (ended["kind"], ended["reason"], ended["writer"]) == ("ended", "completed", "driver")


def test_the_ranks_die_with_their_driver(ray_head: RayHead, tmp_path: Path) -> None:
    with running(ray_head, tmp_path, digits_spec(**LONG)) as trainer:
        trainer.until_trained(5)
        signal_process(trainer.process_of(1), signal.SIGSTOP)
        trainer.process.kill()
        trainer.until_gone(0)
        trainer.until_gone(1)


def test_an_attempt_that_another_process_holds_is_left_alone(ray_head: RayHead, tmp_path: Path) -> None:
    with running(ray_head, tmp_path, digits_spec()) as trainer:
        trainer.server.claimed_by = "f" * 32
        assert trainer.wait(30) == 0
        assert trainer.server.requests == 1
        assert not (tmp_path / "storage/runs").exists()


def test_workers_that_find_no_place_are_named(ray_head: RayHead, tmp_path: Path) -> None:
    spec = digits_spec(resources={"workers": 4})
    with running(ray_head, tmp_path, spec, timeouts={"join": 3, "hang": 60}) as trainer:
        assert trainer.wait(60) == 1
        reason, detail = trainer.end()
        assert reason is EndReason.node_lost
        assert detail.startswith("Ray started no process for Ranks 0, 1, 2, 3 of 4 within 3 s"), detail


@pytest.mark.parametrize("node", ["own", "unknown"])
def test_the_placement_of_admission_is_kept(ray_head: RayHead, tmp_path: Path, node: str) -> None:
    node_id = ray_head.node_id if node == "own" else "f" * 56
    timeouts = {"join": 60 if node == "own" else 3, "hang": 60}
    with running(ray_head, tmp_path, digits_spec(steps=2), placement={node_id: 2}, timeouts=timeouts) as trainer:
        trainer.wait(60)
        assert trainer.end()[0] is (EndReason.completed if node == "own" else EndReason.node_lost)
