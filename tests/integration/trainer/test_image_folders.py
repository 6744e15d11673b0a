"""Image folders on a real local Ray: two ranks with reading processes of their own, and how such a run ends."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.integration.trainer.launching import MODEL, RayHead, Trainer, digits_spec, is_alive, running, signal_process
from tests.unit.trainer.image_folders import make_folder, truncate
from trainer.contract.ends import EndReason
from trainer.contract.reports import Writer

PATIENCE_SECONDS = 400
PATIENT = {"join": 200, "hang": 200}
"""A fork server imports torch beside each rank: on a busy machine that takes its time."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with a folder that is fine; copy it before spoiling it."""
    root = tmp_path_factory.mktemp("root")
    make_folder(root / "shades", 5, 20, extension="jpg", side=16)
    return root


def folder_spec(train: str = "shades", **changes: Any) -> dict[str, Any]:
    data = {"source": "image_folder", "train": train, "loader_workers": 2}
    return digits_spec(**{"model": {**MODEL, "image_size": 16}, "data": data, "steps": 8, **changes})


def until_trained(trainer: Trainer, step: int) -> None:
    def is_trained() -> bool:
        return any(report.step >= step for report in trainer.server.of(Writer.rank0, "metrics"))

    trainer.until(is_trained, f"step {step}", PATIENCE_SECONDS)


def readers_of(trainer: Trainer, rank: int) -> list[int]:
    """The rank's reading processes: what its fork server made."""
    children = psutil.Process(trainer.process_of(rank)).children()
    return [each.pid for child in children for each in child.children()]


def test_two_ranks_train_and_nothing_is_left(ray_head: RayHead, tmp_path: Path, root: Path) -> None:
    with running(ray_head, tmp_path, folder_spec(steps=30), data_roots=[str(root)], timeouts=PATIENT) as trainer:
        until_trained(trainer, 3)
        readers = [*readers_of(trainer, 0), *readers_of(trainer, 1)]
        assert trainer.wait(PATIENCE_SECONDS) == 0, trainer.all_logs()
        assert trainer.end() == (EndReason.completed, "")
        metrics = trainer.server.of(Writer.rank0, "metrics")
        assert [report.step for report in metrics] == list(range(1, 31))
        assert metrics[-1].values["validation_top1"] > 0
        trainer.until(lambda: not any(map(is_alive, readers)), "the readers to end", 15)


def test_a_truncated_image_ends_the_run_whichever_rank_meets_it(ray_head: RayHead, tmp_path: Path, root: Path) -> None:
    shutil.copytree(root / "shades", tmp_path / "root" / "pets")
    broken = [truncate(image) for image in sorted((tmp_path / "root/pets/c003").iterdir())]
    with running(
        ray_head, tmp_path, folder_spec("pets", steps=500), data_roots=[str(tmp_path / "root")], timeouts=PATIENT
    ) as trainer:  # fmt: skip
        assert trainer.wait(PATIENCE_SECONDS) == 1
        reason, detail = trainer.end()
        assert reason is EndReason.data_unreadable
        assert any(f"pets/c003/{image.name} ({image}) is damaged" in detail for image in broken), detail
        assert "`basin data check pets` finds all such files" in detail


def test_a_link_out_of_the_roots_ends_the_run(ray_head: RayHead, tmp_path: Path, root: Path) -> None:
    shutil.copytree(root / "shades", tmp_path / "root" / "pets")
    os.symlink(root / "shades/c000/000.jpg", tmp_path / "root/pets/c001/z.jpg")
    with running(
        ray_head, tmp_path, folder_spec("pets"), data_roots=[str(tmp_path / "root")], timeouts=PATIENT
    ) as trainer:
        assert trainer.wait(PATIENCE_SECONDS) == 1
        reason, detail = trainer.end()
        assert reason is EndReason.data_unreadable
        assert f"pets/c001/z.jpg ({tmp_path}/root/pets/c001/z.jpg) is a link to {root}/shades/c000/000.jpg" in detail
        assert f"outside the data root {tmp_path}/root" in detail


def test_a_killed_reader_ends_the_run_with_a_sentence(ray_head: RayHead, tmp_path: Path, root: Path) -> None:
    spec = folder_spec(steps=100_000, checkpoint={"every_steps": 100_000})
    with running(ray_head, tmp_path, spec, data_roots=[str(root)], timeouts=PATIENT) as trainer:
        until_trained(trainer, 3)
        signal_process(readers_of(trainer, 1)[0], signal.SIGKILL)
        assert trainer.wait(PATIENCE_SECONDS) == 1
        reason, detail = trainer.end()
        assert reason is EndReason.trainer_crashed
        assert "A process that reads images ended by itself" in detail
        assert "`data.loader_workers`" in detail


def test_a_killed_rank_leaves_no_reader_behind(ray_head: RayHead, tmp_path: Path, root: Path) -> None:
    spec = folder_spec(steps=100_000, checkpoint={"every_steps": 100_000})
    with running(ray_head, tmp_path, spec, data_roots=[str(root)], timeouts=PATIENT) as trainer:
        until_trained(trainer, 3)
        readers = readers_of(trainer, 0)
        servers = [psutil.Process(reader).ppid() for reader in readers]
        assert len(readers) == 2
        signal_process(trainer.process_of(0), signal.SIGKILL)
        assert trainer.wait(PATIENCE_SECONDS) == 1
        assert trainer.end()[0] is EndReason.trainer_crashed
        trainer.until(lambda: not any(map(is_alive, [*readers, *servers])), "the readers to end", 15)
