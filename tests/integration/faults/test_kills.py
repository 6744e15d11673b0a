"""kill -9 of any part in the middle of a run: it ends `succeeded`, with exactly the points of an undisturbed run."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.integration.faults.specs import digits_run
from tests.integration.faults.watching import Points, Watch, processes_of
from trainer import checkpoint

STEPS = 120
KILL_AT = 45
"""Past the second checkpoint (40) and in the middle of a cycle of k = 5."""


def kill_part(name: str) -> Callable[[Any, str], None]:
    def kill(stack: Any, run_id: str) -> None:
        stack.kill(name)

    return kill


def kill_process(title: str) -> Callable[[Any, str], None]:
    def kill(stack: Any, run_id: str) -> None:
        victims = processes_of(str(stack.home), title)
        assert victims, f"no process `{title}` of this stack is running"
        os.kill(victims[-1].pid, signal.SIGKILL)

    return kill


def kill_rank_1(stack: Any, run_id: str) -> None:
    """Of the worker group, the one that does not report."""
    [log] = Path(stack.home).rglob(f"{run_id}/**/rank-1.log")
    found = re.search(r"Rank 1 is process (\d+)", log.read_text(encoding="utf-8"))
    assert found, log.read_text(encoding="utf-8")
    os.kill(int(found[1]), signal.SIGKILL)


def final_weights(stack: Any, run_id: str) -> dict[str, Tensor]:
    [folder] = Path(stack.home).rglob(f"{run_id}/**/checkpoints/step-{STEPS:08}")
    checkpoint.verify(folder)
    return checkpoint.read(folder).model


@pytest.fixture(scope="module")
def watch(stack: Any) -> Iterator[Watch]:
    with Watch(stack.api_url, stack.token) as watch:
        yield watch


@pytest.fixture(scope="module")
def undisturbed_id(watch: Watch) -> str:
    run_id = watch.submit(digits_run(steps=STEPS))
    run = watch.until_ended(run_id)
    assert run["status"] == "succeeded", run
    assert len(run["attempts"]) == 1
    return run_id


@pytest.fixture(scope="module")
def undisturbed(watch: Watch, undisturbed_id: str) -> Points:
    points = watch.points(undisturbed_id)
    assert [step for step, _ in points["train_loss"]] == list(range(1, STEPS + 1))
    return points


@pytest.mark.parametrize(
    ("kill", "attempts"),
    [
        pytest.param(kill_part("celery"), 1, id="celery worker"),
        pytest.param(kill_part("beat"), 1, id="beat"),
        pytest.param(kill_part("api"), 1, id="api"),
        pytest.param(kill_part("valkey"), 1, id="valkey"),
        pytest.param(kill_part("postgres"), 1, id="postgresql"),
        pytest.param(kill_process("trainer.main"), 2, id="ray driver"),
        pytest.param(kill_rank_1, 2, id="ray worker process, rank 1"),
    ],
)
def test_a_run_survives_the_kill_of_the(
    kill: Callable[[Any, str], None], attempts: int, stack: Any, watch: Watch, undisturbed: Points, undisturbed_id: str
) -> None:
    run_id = watch.submit(digits_run(steps=STEPS))
    watch.until_step(run_id, KILL_AT)
    kill(stack, run_id)
    run = watch.until_ended(run_id)
    assert (run["status"], run["reason"]) == ("succeeded", "completed"), run
    assert run["step"] == STEPS
    assert len(run["attempts"]) == attempts
    points = watch.points(run_id)
    assert set(points) == set(undisturbed)
    for metric, expected in undisturbed.items():
        assert points[metric] == expected, metric
    weights = final_weights(stack, run_id)
    for name, expected in final_weights(stack, undisturbed_id).items():
        assert torch.equal(weights[name], expected), name


def test_an_ended_run_leaves_no_process(stack: Any, undisturbed: Points) -> None:
    assert not processes_of(str(stack.home), "trainer.main")
    assert not processes_of(str(stack.home), "ray::RankActor")
    assert not list(Path(stack.home).rglob("checkpoints/*.tmp*"))
