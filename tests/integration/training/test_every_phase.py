"""M9: 200 steps are c, a resume and the rest, bit for bit, for a c in each phase of k; on one worker and on two."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.trainer.oracles.saved import differences, state_of

STEPS, FIRST, K = 200, 120, 5
METHODS: list[dict[str, Any]] = [
    {"name": "none"},
    {"name": "sam", "rho": 0.1, "k": K},
    {"name": "looksam", "rho": 0.1, "k": K},
    {"name": "looksam", "rho": 0.1, "k": K, "scope": "per_tensor", "alpha": "fresh_ratio", "perturbation": "per_rank"},
    {"name": "layersam", "rho": 0.02, "k": K},
    {"name": "look_layersam", "rho": 0.02, "k": K},
]
# Dropout, so that masks must come back too.
COMMON: dict[str, Any] = {
    "model": {
        "name": "vit_tiny_patch16_224",
        "arguments": {"patch_size": 4, "embed_dim": 16, "depth": 1, "num_heads": 2, "proj_drop_rate": 0.2},
    },
    "steps": STEPS, "checkpoint": {"every_steps": STEPS}, "evaluation": {"every_epochs": 100}, "ema_decay": 0.99,
}  # fmt: skip


def saved_at(folder: Path, step: int) -> Path:
    return folder / "checkpoints" / f"step-{step:08d}"


def assert_same_end(a: Path, b: Path) -> None:
    """In all that a checkpoint holds: weights, average, moments, direction, alpha, c, counters, metrics."""
    one, other = state_of(a, STEPS), state_of(b, STEPS)
    assert len(one["model"]) == len(one["average"]) == len(one["optimizer"]["state"]) > 0
    assert differences(one, other) == []


@pytest.mark.parametrize("method", METHODS, ids=lambda method: f"{method['name']}-{method.get('scope', '')}")
def test_m9_on_one_worker(run, small_spec, method):
    spec = small_spec(**COMMON, method=method)
    whole = run(spec)
    resume: list[Path] = []
    for done in range(FIRST, FIRST + K):  # each of them goes on from the one before
        wishes = iter(range(STEPS))
        stopping = FIRST - 1 if done == FIRST else 0
        part = run(spec, resume=resume, stop=lambda wishes=wishes, at=stopping: next(wishes) == at)
        assert part.outcome.step == done
        resume = [saved_at(part.folder, done)]
        assert_same_end(run(spec, resume=resume).folder, whole.folder)


def test_m9_on_two_workers(two_ranks, small_spec, tmp_path):
    specs = [small_spec(**COMMON, method=method, resources={"workers": 2}) for method in METHODS]
    items: list[dict[str, Any]] = []
    wholes: list[int] = []
    rests: list[tuple[int, int]] = []
    for spec in specs:
        item = {"spec": spec.model_dump(mode="json")}
        wholes.append(len(items))
        items.append(item)
        resume: list[str] = []
        for done in range(FIRST, FIRST + K):
            items.append({**item, "resume": resume, "stop_at": FIRST - 1 if done == FIRST else 0})
            resume = [str(saved_at(tmp_path / "ranks" / str(len(items) - 1), done))]
            rests.append((len(items), wholes[-1]))
            items.append({**item, "resume": resume})
    folder, (answers, _) = two_ranks(items)
    assert [answers[number]["reason"] for number in wholes] == ["completed"] * len(METHODS)
    assert [answers[number - 1]["step"] for number, _ in rests] == [*range(FIRST, FIRST + K)] * len(METHODS)
    for rest, whole in rests:
        assert_same_end(folder / str(rest), folder / str(whole))
