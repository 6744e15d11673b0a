"""The checkpoint of the best validation is kept beside the newest ones, whatever befalls the run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from trainer import checkpoint, loop, stored_weights
from trainer.checkpoint import Best
from trainer.errors import TrainerError
from trainer.export import export

KEEPING = {"every_steps": 3, "keep": 1, "keep_best": True}
RISE_AND_FALL = {4: (50.0, 1.0), 7: (60.0, 0.9), 10: (55.0, 0.8), 12: (40.0, 0.7)}
"""Steps completed -> top-1 and loss; the second validation is the best."""


@pytest.fixture
def validated(monkeypatch):
    """Validations say what the test wants: of 100 images in batches of 32 they come after steps 4, 7, 10 and 12."""

    def say(numbers: dict[int, tuple[float, float]], after: int = 0) -> None:
        coming = iter([numbers[step] for step in sorted(numbers) if step > after])

        def validate(*arguments, name: str = "validation"):
            top1, loss = next(coming)
            return {f"{name}_top1": top1, f"{name}_loss": loss}

        monkeypatch.setattr(loop, "validate", validate)

    return say


def steps_in(folder: Path) -> list[int]:
    return sorted(checkpoint.step_of(path) for path in checkpoint.found_in(folder))


class TestBest:
    def test_the_higher_top1_wins_then_the_lower_loss_then_the_first(self):
        def after(*validations: tuple[float, float]) -> int:
            best = None
            for step, (top1, loss) in enumerate(validations, 1):
                best = Best.of(step, {"validation_top1": top1, "validation_loss": loss}, best)
            return best.step

        assert after((50, 1.0)) == 1
        assert after((50, 1.0), (60, 2.0), (55, 0.1)) == 2
        assert after((50, 1.0), (50, 0.9), (50, 0.95)) == 2
        assert after((50, 1.0), (50, 1.0)) == 1
        assert after((50, 1.0), (50, float("nan"))) == 1


class TestOfTheAverage:
    """An export holds the moving average where there is one, so its validation ranks."""

    def test_ranks_where_there_is_one(self):
        numbers = {"validation_top1": 70.0, "validation_loss": 0.5}
        average = {"ema_validation_top1": 60.0, "ema_validation_loss": 0.8}
        assert Best.of(1, numbers | average, None) == Best(step=1, validation_top1=60.0, validation_loss=0.8)

    def test_the_best_checkpoint_of_a_run_is_the_averages(self, run, small_spec, monkeypatch):
        coming = {"validation": iter([50.0, 60.0, 55.0, 40.0]), "ema_validation": iter([20.0, 30.0, 45.0, 44.0])}

        def validate(*arguments, name: str = "validation"):
            return {f"{name}_top1": next(coming[name]), f"{name}_loss": 1.0}

        monkeypatch.setattr(loop, "validate", validate)
        result = run(small_spec(checkpoint=KEEPING, ema_decay=0.9))
        assert result.saved().best["step"] == 10
        assert steps_in(result.folder) == [10, 12]


class TestKeeping:
    def test_it_is_saved_out_of_turn_and_outlives_newer_ones(self, run, small_spec, validated):
        validated(RISE_AND_FALL)
        result = run(small_spec(checkpoint=KEEPING))
        assert result.recorder.saved == [3, 4, 6, 7, 9, 12]  # every third, and where the validation improved
        assert steps_in(result.folder) == [7, 12]
        assert result.saved().best == {"step": 7, "validation_top1": 60.0, "validation_loss": 0.9}
        checkpoint.verify(checkpoint.folder_of(result.folder, 7))

    def test_where_the_newest_is_the_best_there_is_one_less(self, run, small_spec, validated):
        validated({4: (50, 1.0), 7: (60, 1.0), 10: (70, 1.0), 12: (80, 1.0)})
        assert steps_in(run(small_spec(checkpoint=KEEPING)).folder) == [12]

    def test_off_it_is_neither_saved_nor_kept(self, run, small_spec, validated):
        validated(RISE_AND_FALL)
        result = run(small_spec(checkpoint={**KEEPING, "keep_best": False}))
        assert result.recorder.saved == [3, 6, 9, 12]
        assert steps_in(result.folder) == [12]

    def test_the_training_does_not_depend_on_it(self, run, small_spec):
        spec = small_spec(method={"name": "looksam"}, checkpoint=KEEPING)
        kept, plain = run(spec), run(small_spec(method={"name": "looksam"}))
        assert len(kept.recorder.saved) > len(plain.recorder.saved)
        assert kept.deterministic_points == plain.deterministic_points
        assert all(torch.equal(kept.weights[name], value) for name, value in plain.weights.items())


class TestResume:
    def test_a_resumed_run_knows_the_best_and_keeps_it(self, run, small_spec, validated):
        spec = small_spec(checkpoint={**KEEPING, "keep": 2})
        validated(RISE_AND_FALL)
        whole = run(spec)
        assert steps_in(whole.folder) == [7, 9, 12]
        validated(RISE_AND_FALL, after=9)
        again = run(spec, folder=whole.folder, resume=[checkpoint.folder_of(whole.folder, 9)])
        assert again.recorder.saved == [12]  # step 10 was no improvement on step 7
        assert 7 in steps_in(whole.folder)
        assert again.saved().best == whole.saved().best

    def test_a_best_beyond_the_resumed_step_goes_and_is_found_again(self, run, small_spec, validated):
        spec = small_spec(checkpoint={**KEEPING, "keep": 5})
        validated(RISE_AND_FALL)
        whole = run(spec)
        validated({**RISE_AND_FALL, 7: (45.0, 1.0)}, after=6)
        asked = iter(range(100))
        again = run(
            spec, folder=whole.folder, resume=[checkpoint.folder_of(whole.folder, 6)], stop=lambda: next(asked) == 1
        )
        assert again.outcome.step == 8
        assert max(steps_in(whole.folder)) == 8, "those beyond are of the other past"
        assert again.saved().best["step"] == 4

    def test_checkpoints_older_than_the_field_are_read(self, run, small_spec, validated, tmp_path):
        validated(RISE_AND_FALL)
        spec = small_spec(checkpoint={"every_steps": 9, "keep": 2})
        whole = run(spec)
        saved = torch.load(checkpoint.folder_of(whole.folder, 9) / "state.pt", weights_only=True)
        del saved["best"], saved["spec"]["checkpoint"]["keep_best"]
        torch.save(saved, tmp_path / "state.pt")
        old = checkpoint.read(tmp_path)
        assert old.best == {}
        path, _ = checkpoint.save(old, tmp_path / "old", before_rename=lambda step, folder: None)
        validated(RISE_AND_FALL, after=9)
        again = run(small_spec(checkpoint={**KEEPING, "every_steps": 9}), resume=[path])
        assert again.saved().best["step"] == 10  # the best that it has seen


class TestExport:
    @pytest.fixture
    def folder(self, run, small_spec, validated) -> Path:
        validated(RISE_AND_FALL)
        return run(small_spec(checkpoint=KEEPING)).folder

    def test_takes_the_newest_or_the_best(self, folder, tmp_path):
        assert export(folder, tmp_path / "newest").facts.saved.step == 12
        assert export(folder, tmp_path / "best", best=True).facts.saved.step == 7
        newest = checkpoint.folder_of(folder, 12)
        assert export(newest, tmp_path / "beside", best=True).facts.saved.step == 7

    def test_a_best_that_is_torn_or_gone_is_said(self, folder):
        (checkpoint.folder_of(folder, 7) / "state.pt").write_bytes(b"torn")
        with pytest.raises(TrainerError, match=r"best validation was of step 7.*not as it was written"):
            stored_weights.best_checkpoint(folder)
        shutil.rmtree(checkpoint.folder_of(folder, 7))
        with pytest.raises(TrainerError, match=r"best validation was of step 7.*Take the newest"):
            stored_weights.best_checkpoint(folder)

    def test_without_a_validation_there_is_no_best(self, run, small_spec):
        asked = iter(range(100))
        early = run(small_spec(checkpoint=KEEPING), stop=lambda: next(asked) == 0)
        with pytest.raises(TrainerError, match="knows of no validation"):
            stored_weights.best_checkpoint(early.folder)
