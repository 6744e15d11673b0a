"""Image folders through the whole service: `basin up`, the command line, the API, Ray, and back."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.integration.running_stack import RunningStack
from tests.unit.trainer.image_folders import draw, make_folder, truncate


@pytest.fixture
def root(stack: RunningStack) -> Path:
    """The stack's own data root."""
    return stack.home / "data"


@pytest.fixture
def submit(stack: RunningStack):
    """Submits a two-worker run on a folder; gives the finished command."""

    def send(train: str, *arguments: str, check: bool = True, **changes: Any):
        spec = {
            "model": {
                "name": "vit_tiny_patch16_224", "image_size": 32,
                "arguments": {"patch_size": 8, "embed_dim": 32, "depth": 1, "num_heads": 2},
            },
            "data": {"source": "image_folder", "train": train, "loader_workers": 1},
            "optimizer": {"name": "adamw", "lr": 0.003}, "method": {"name": "looksam"}, "global_batch_size": 100,
            "epochs": 2, "logging": {"every_steps": 5}, "resources": {"workers": 2}, **changes,
        }  # fmt: skip
        return stack.basin("run", "submit", "-", "--watch", *arguments, text=yaml.safe_dump(spec), check=check)

    return send


def newest(stack: RunningStack) -> dict[str, Any]:
    [run] = stack.basin_json("run", "list", "--limit", "1")["items"]
    shown: dict[str, Any] = stack.basin_json("run", "show", run["id"])
    return shown


def test_two_thousand_images_of_ten_classes_train(stack: RunningStack, root: Path, submit: Any) -> None:
    make_folder(root / "shades", 10, 200, side=32)
    submit("shades", epochs=6)
    run = newest(stack)
    assert run["status"] == "succeeded"
    assert run["step"] == 108  # 1,800 images are trained on
    assert run["latest"]["validation_top1"]["value"] > 30  # ten shades; 10 is chance


def test_a_truncated_image_ends_the_run_and_is_named(stack: RunningStack, root: Path, submit: Any) -> None:
    folder = make_folder(root / "damaged", 2, 50, extension="jpg", side=32)
    broken = truncate(folder / "c001" / "007.jpg")
    done = submit("damaged", "--set", "data.validation_fraction=0.02", check=False, global_batch_size=98)
    assert done.returncode == 1
    run = newest(stack)
    assert (run["status"], run["reason"]) == ("failed", "data_unreadable")
    assert f"damaged/c001/007.jpg ({broken}) is damaged" in run["detail"]


def test_an_empty_class_ends_the_run_and_is_named(stack: RunningStack, root: Path, submit: Any) -> None:
    folder = make_folder(root / "gap", 2, 50, side=32)
    (folder / "nothing").mkdir()
    assert submit("gap", check=False).returncode == 1
    run = newest(stack)
    assert (run["status"], run["reason"]) == ("failed", "data_unreadable")
    assert f"gap/nothing ({folder}/nothing) is a class without an image" in run["detail"]


def test_links_out_of_the_roots_are_refused_by_the_api_or_end_the_run(
    stack: RunningStack, root: Path, submit: Any, tmp_path: Path
) -> None:
    make_folder(tmp_path / "elsewhere", 2, 50, side=32)
    os.symlink(tmp_path / "elsewhere", root / "out")
    done = submit("out", check=False)
    assert done.returncode == 2
    assert "spec.data.train" in done.stderr
    assert str(root) in done.stderr

    folder = make_folder(root / "linked", 2, 50, side=32)
    draw(1, 32).save(tmp_path / "secret.png")
    os.symlink(tmp_path / "secret.png", folder / "c001" / "z.png")
    assert submit("linked", check=False).returncode == 1
    run = newest(stack)
    assert (run["status"], run["reason"]) == ("failed", "data_unreadable")
    assert f"linked/c001/z.png ({folder}/c001/z.png) is a link to {tmp_path}/secret.png, outside" in run["detail"]


@pytest.fixture(autouse=True)
def _no_folders_left(root: Path):
    yield
    for folder in root.iterdir():
        folder.unlink() if folder.is_symlink() else shutil.rmtree(folder)
