"""`python -m trainer` on image folders: many classes, Ctrl-C, resuming, a death."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
import yaml
from PIL import Image

from tests.unit.trainer.image_folders import make_folder
from trainer import checkpoint

PATIENCE_SECONDS = 400
VIT = {
    "name": "vit_tiny_patch16_224", "image_size": 8,
    "arguments": {"patch_size": 4, "embed_dim": 16, "depth": 1, "num_heads": 2},
}  # fmt: skip


@pytest.fixture
def spec(tmp_path: Path):
    def write(**changes: Any) -> str:
        document = {
            "model": VIT, "data": {"source": "image_folder", "train": "images", "loader_workers": 2},
            "optimizer": {"name": "adamw", "lr": 0.003}, "method": {"name": "looksam"}, "global_batch_size": 16,
            "steps": 400, "checkpoint": {"every_steps": 100_000}, "logging": {"every_steps": 100}, **changes,
        }  # fmt: skip
        path = tmp_path / "spec.yaml"
        path.write_text(yaml.safe_dump(document))
        return str(path)

    return write


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "trainer", *arguments, "--json"], cwd=folder, text=True, start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def finished(process: subprocess.Popen[str]) -> tuple[int, list[dict[str, Any]], str]:
    out, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert "Traceback" not in err
    return process.returncode, [json.loads(line) for line in out.splitlines()], err


def until_step(process: subprocess.Popen[str], step: int) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        event = json.loads(line)
        if event["event"] == "progress" and event["step"] >= step:
            return
    raise AssertionError(process.communicate())


def below(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The fork server and what it made."""
    return psutil.Process(process.pid).children(recursive=True)


def assert_gone(processes: list[psutil.Process]) -> None:
    deadline = time.monotonic() + 60
    while left := [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]:
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


def test_ctrl_c_to_the_group_saves_and_resuming_ends_as_if_undisturbed(spec, tmp_path: Path) -> None:
    make_folder(tmp_path / "images", 3, 20)
    document = spec()
    process = start(tmp_path, "--spec", document)
    until_step(process, 20)
    others = below(process)
    assert len(others) >= 3
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    code, events, err = finished(process)
    assert code == 130, err
    assert events[-1]["reason"] == "cancelled_by_user"
    assert 20 <= events[-1]["step"] < 400
    assert_gone(others)

    code, _, err = finished(start(tmp_path, "--spec", document, "--resume"))
    assert code == 0, err
    code, _, err = finished(start(tmp_path, "--spec", document, "--folder", "undisturbed"))
    assert code == 0, err
    ours, theirs = (
        checkpoint.read(checkpoint.folder_of(tmp_path / folder, 400)).model for folder in ("runs/spec", "undisturbed")
    )
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_sigterm_to_the_group_saves_too(spec, tmp_path: Path) -> None:
    make_folder(tmp_path / "images", 3, 20)
    process = start(tmp_path, "--spec", spec(steps=100_000))
    until_step(process, 5)
    others = below(process)
    os.killpg(process.pid, signal.SIGTERM)
    code, events, err = finished(process)
    assert code == 130, err
    assert events[-1]["reason"] == "cancelled_by_user"
    assert_gone(others)


def test_a_sudden_death_leaves_no_process(spec, tmp_path: Path) -> None:
    make_folder(tmp_path / "images", 3, 20)
    process = start(tmp_path, "--spec", spec(steps=100_000))
    until_step(process, 5)
    others = below(process)
    process.kill()
    process.communicate()
    assert_gone(others)


def test_ten_thousand_classes_train(spec, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    tiny = tmp_path / "tiny.png"
    Image.new("RGB", (8, 8), (120, 30, 60)).save(tiny)
    for label in range(10_000):
        (folder / f"n{label:05d}").mkdir(parents=True)
        for number in range(2):
            os.link(tiny, folder / f"n{label:05d}" / f"{number}.png")
    code, events, err = finished(start(tmp_path, "--spec", spec(steps=6, logging={"every_steps": 1})))
    assert code == 0, err
    metrics = [event["values"] for event in events if event["event"] == "metrics"]
    assert metrics[0]["train_loss"] == pytest.approx(9.21, abs=0.2)  # log 10,000
    assert metrics[-1]["validation_loss"] > 0
    assert metrics[-1]["epoch"] == pytest.approx(6 * 16 / 18_000)  # a tenth is held out, no class wholly


def test_an_empty_class_ends_in_a_sentence(spec, tmp_path: Path) -> None:
    make_folder(tmp_path / "images", 2, 10)
    (tmp_path / "images" / "nothing").mkdir()
    code, events, err = finished(start(tmp_path, "--spec", spec()))
    assert (code, events) == (1, [])
    assert err.startswith(f"images/nothing ({tmp_path}/images/nothing) is a class without an image: remove the folder")
