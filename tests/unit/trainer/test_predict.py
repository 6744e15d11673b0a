"""Predictions are those of the run's own validation, whether from a checkpoint or from an export of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.unit.trainer.image_folders import make_folder, truncate
from tests.unit.trainer.test_export import folder_spec, trained_network
from trainer import data
from trainer.datasets import digits
from trainer.errors import TrainerError
from trainer.export import export
from trainer.predict import Classifier, images_in, main


def told(capsys: pytest.CaptureFixture[str]) -> list[dict]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.fixture
def exported(run, tmp_path: Path) -> Path:
    """A model of three classes; images of another size than its input, so that they are resized and cropped."""
    folder = make_folder(tmp_path / "pets", 3, 8, side=(40, 30))
    result = run(folder_spec(folder, mean=[0.3, 0.4, 0.5]))
    export(result.folder, tmp_path / "out")
    return tmp_path / "out"


def test_images_are_seen_as_the_runs_validation_saw_them(run, tmp_path):
    folder = make_folder(tmp_path / "pets", 3, 4, side=(40, 30))
    spec = folder_spec(folder, validation=str(folder))
    result = run(spec)
    export(result.folder, tmp_path / "out")
    images = data.load(spec, torch.device("cpu"))
    [(pixels, _)] = images.validation.share_of(0, 1, 100)
    images.close()
    for source in (tmp_path / "out", result.folder):
        classifier = Classifier.load(source)
        seen = [classifier.pixels(path) for path in images_in(str(folder))]
        assert torch.equal(torch.stack(seen), pixels)
        with torch.no_grad():
            expected = trained_network(result.saved())(pixels).softmax(dim=1)
        assert torch.equal(classifier.probabilities(seen), expected)


def test_a_digit_saved_as_an_image_is_seen_as_in_the_data_set(run, small_spec, tmp_path):
    result = run(small_spec(steps=1))
    pixels, _ = digits.read()
    # 16 levels become 0 to 255, rounded: half a level of 255, divided by the standard deviation.
    Image.fromarray(np.round(pixels[0] * 255 / 16).astype(np.uint8)).save(tmp_path / "digit.png")
    seen = Classifier.load(result.folder).pixels(str(tmp_path / "digit.png"))
    expected = torch.from_numpy((pixels[0] / 16 - digits.MEAN) / digits.STD).float()
    assert seen.shape == (1, 8, 8)
    assert (seen[0] - expected).abs().max() <= 0.5 / 255 / digits.STD + 1e-6


def test_a_folder_gives_a_line_an_image_and_names_what_cannot_be_read(exported, tmp_path, capsys):
    folder = tmp_path / "new"
    make_folder(folder, 2, 20)
    truncate(folder / "c001" / "003.png")
    (folder / "notes.txt").touch()
    (folder / ".hidden.png").touch()
    assert main(["--model", str(exported), "--top", "2", str(folder)]) == 1
    lines = told(capsys)
    predicted = [each for each in lines if each["event"] == "prediction"]
    assert [Path(each["path"]).name for each in predicted[:2]] == ["000.png", "001.png"]
    assert len(predicted) == 39
    for each in predicted:
        first, second = each["classes"]
        assert first["probability"] >= second["probability"] > 0
        assert first["name"] == f"c{first['label']:03d}"
    [unreadable] = [each for each in lines if each["event"] == "unreadable"]
    assert unreadable["path"] == str(folder / "c001" / "003.png")
    assert "is damaged" in unreadable["why"]
    assert [(each["done"], each["total"]) for each in lines if each["event"] == "progress"] == [(32, 40), (40, 40)]


def test_one_image_and_more_classes_asked_for_than_there_are(exported, tmp_path, capsys):
    assert main(["--model", str(exported), "--top", "50", str(tmp_path / "pets" / "c000" / "000.png")]) == 0
    [prediction, _] = told(capsys)
    assert sum(each["probability"] for each in prediction["classes"]) == pytest.approx(1)
    assert len(prediction["classes"]) == 3


@pytest.mark.parametrize(
    ("break_it", "sentence"),
    [
        (lambda out: (out / "config.json").write_text("{}"), "must name a timm model"),
        (lambda out: (out / "config.json").write_text('{"architecture": "no_such_model"}'), "could not load"),
        (lambda out: (out / "model.safetensors").unlink(), "model.safetensors is not there"),
        (lambda out: (out / "model.safetensors").write_bytes(b"x" * 100), "could not be read as safetensors"),
        (shutil.rmtree, "is not there: name a checkpoint"),
    ],
)
def test_a_folder_that_is_no_model_is_refused_in_a_sentence(exported, tmp_path, capsys, break_it, sentence):
    break_it(exported)
    assert main(["--model", str(exported), str(tmp_path / "pets")]) == 2
    [refused] = told(capsys)
    assert sentence in refused["sentence"]
    assert "\n" not in refused["sentence"]


def test_a_path_that_is_not_there_and_a_folder_without_images_are_refused(tmp_path):
    with pytest.raises(TrainerError, match="is not there: name an image"):
        images_in(str(tmp_path / "gone"))
    with pytest.raises(TrainerError, match="holds no image"):
        images_in(str(tmp_path))
