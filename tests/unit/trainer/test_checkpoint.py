"""Checkpoints are whole or not there: torn ones are recognised, the one before is used, a full disk has its reason."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import torch

from trainer import checkpoint
from trainer.contract.ends import EndReason
from trainer.errors import TrainerError

TEARS = {
    "cut short": lambda path: os.truncate(path / "state.pt", 1000),
    "one bit flipped": lambda path: flip_a_bit(path / "state.pt"),
    "no manifest": lambda path: (path / "manifest.json").unlink(),
    "no state": lambda path: (path / "state.pt").unlink(),
    "manifest cut short": lambda path: os.truncate(path / "manifest.json", 20),
    "manifest of nonsense": lambda path: (path / "manifest.json").write_text("[]"),
    "listener's file changed": lambda path: (path / "unsent.jsonl").write_text("other"),
    "empty folder": lambda path: [file.unlink() for file in path.iterdir()],
    "not there": shutil.rmtree,
}


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def newest_first(folder: Path) -> list[Path]:
    return checkpoint.found_in(folder)


class TestTorn:
    @pytest.mark.parametrize("tear", TEARS)
    def test_the_one_before_is_used_and_the_run_ends_the_same(self, run, small_spec, tear):
        spec = small_spec(method={"name": "looksam"}, checkpoint={"every_steps": 4, "keep": 5})
        whole = run(spec)
        folder = whole.folder
        paths = newest_first(folder)
        assert [path.name for path in paths] == ["step-00000012", "step-00000008", "step-00000004"]
        expected = whole.weights
        TEARS[tear](paths[0])
        TEARS[tear](paths[1])
        again = run(spec, folder=folder, resume=paths)
        assert again.recorder.steps[0] == 4
        assert all(torch.equal(again.weights[name], value) for name, value in expected.items())
        (notice,) = again.recorder.notices
        assert notice[0] == "checkpoint_skipped"
        assert "step-00000012" in notice[1]
        assert "Resumed from step 4" in notice[1]
        for path in newest_first(folder):
            checkpoint.verify(path)

    def test_all_torn_is_an_error_that_names_them(self, run, small_spec):
        whole = run(small_spec())
        (path,) = newest_first(whole.folder)
        TEARS["one bit flipped"](path)
        with pytest.raises(TrainerError, match=r"step-00000012.state.pt is not as it was written") as caught:
            run(small_spec(), resume=[path])
        assert caught.value.reason is EndReason.checkpoint_unreadable


class TestWriting:
    def test_keeps_the_newest_and_leaves_nothing_half_done(self, run, small_spec):
        result = run(small_spec(checkpoint={"every_steps": 2, "keep": 3}))
        names = sorted(path.name for path in (result.folder / "checkpoints").iterdir())
        assert names == ["step-00000008", "step-00000010", "step-00000012"]
        assert result.recorder.saved == [2, 4, 6, 8, 10, 12]

    def test_holds_what_the_listener_adds_and_says_its_size(self, run, small_spec):
        result = run(small_spec())
        path = checkpoint.folder_of(result.folder, 12)
        assert (path / "unsent.jsonl").read_text() == "12\n"
        checkpoint.verify(path)

    def test_a_listener_that_fails_leaves_no_folder(self, run, small_spec, tmp_path):
        saved = run(small_spec()).saved()

        def fail(step: int, folder: Path) -> None:
            raise OSError("no")

        with pytest.raises(OSError, match="no"):
            checkpoint.save(saved, tmp_path / "other", before_rename=fail)
        assert list((tmp_path / "other" / "checkpoints").iterdir()) == []

    def test_what_a_killed_process_left_is_swept(self, run, small_spec, tmp_path):
        left = tmp_path / "swept" / "checkpoints" / ".writing-step-00000004-abc"
        left.mkdir(parents=True)
        (left / "state.pt").write_bytes(b"half")
        run(small_spec(), folder=tmp_path / "swept")
        assert not left.exists()

    def test_those_beyond_the_resumed_step_do_not_crowd_out_new_ones(self, run, small_spec):
        spec = small_spec(checkpoint={"every_steps": 3, "keep": 2})
        whole = run(spec)
        nine = checkpoint.folder_of(whole.folder, 9)
        stale = checkpoint.folder_of(whole.folder, 5000)
        shutil.copytree(checkpoint.folder_of(whole.folder, 12), stale)
        again = run(spec, folder=whole.folder, resume=[nine])
        assert [path.name for path in newest_first(whole.folder)] == ["step-00000012", "step-00000009"]
        assert again.recorder.saved == [12]

    def test_a_full_disk_has_its_reason(self, run, small_spec, monkeypatch):
        # /dev/full fails every write with ENOSPC, as a full disk does; joined to a folder, an absolute path wins.
        monkeypatch.setattr(checkpoint, "STATE_FILE", "/dev/full")
        with pytest.raises(TrainerError, match="No space left") as caught:
            run(small_spec())
        assert caught.value.reason is EndReason.disk_full

    def test_no_code_is_run_from_a_checkpoint(self, tmp_path):
        class Evil:
            def __reduce__(self):
                return (os.mkdir, (str(tmp_path / "ran"),))

        torch.save({"step": Evil()}, tmp_path / "state.pt")
        with pytest.raises(TrainerError) as caught:
            checkpoint.read(tmp_path)
        assert caught.value.reason is EndReason.checkpoint_unreadable
        assert not (tmp_path / "ran").exists()
