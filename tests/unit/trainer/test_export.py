"""An exported folder gives timm the trained model bit for bit, and says of it what is known."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
import yaml

from tests.unit.trainer.image_folders import make_folder
from trainer import checkpoint, stored_weights
from trainer.checkpoint import Saved
from trainer.contract.spec import TrainingSpec, stored_spec
from trainer.errors import TrainerError
from trainer.export import ROOTS_VARIABLE, export, main
from trainer.model_card import model_card
from trainer.preparation import Preparation

MODELS = [
    {"name": "vit_tiny_patch16_224", "arguments": {"patch_size": 4, "embed_dim": 16, "depth": 1, "num_heads": 2}},
    {"name": "test_resnet"},  # batch norm: its running statistics are buffers
    {"name": "test_convnext", "image_size": 32},
]


def folder_spec(folder: Path, **data: object) -> TrainingSpec:
    return TrainingSpec.model_validate({
        "model": {"name": "test_vit", "image_size": 16},
        "data": {"source": "image_folder", "train": str(folder), "loader_workers": 0, **data},
        "optimizer": {"name": "adamw", "lr": 0.003},
        "global_batch_size": 4,
        "steps": 1,
    })  # fmt: skip


def trained_network(saved: Saved) -> torch.nn.Module:
    return stored_weights.network_of(saved, stored_spec(saved.spec), Preparation.from_document(saved.preparation))


def logits(network: torch.nn.Module, channels: int, side: int) -> torch.Tensor:
    images = torch.randn(5, channels, side, side, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        return network.eval()(images)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model["name"])
def test_timm_loads_it_back_with_the_same_logits_bit_for_bit(run, small_spec, tmp_path, model):
    result = run(small_spec(model=model, method={"name": "looksam"}, steps=4))
    export(result.folder, tmp_path / "out")
    loaded = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True)
    side = model.get("image_size", 8)
    expected = logits(trained_network(result.saved()), 1, side)
    assert torch.equal(logits(loaded, 1, side), expected)
    for name, value in loaded.state_dict().items():
        assert torch.equal(value, result.weights[name]), name
    untrained = timm.create_model(f"local-dir:{tmp_path / 'out'}")
    assert not torch.equal(logits(untrained, 1, side), expected)


def test_the_configuration_holds_classes_and_preparation_and_nothing_of_timms_own_weights(run, tmp_path):
    folder = make_folder(tmp_path / "pets", 3, 8, side=20)
    spec = folder_spec(
        folder, validation_fraction=0.25, mean=[0.1, 0.2, 0.3], std=[0.4, 0.5, 0.6],
        augmentation={"crop_scale": [1, 1]},
    )  # fmt: skip
    export(run(spec).folder, tmp_path / "out")
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["label_names"] == ["c000", "c001", "c002"]
    assert (config["architecture"], config["num_classes"]) == ("test_vit", 3)
    prepared = config["pretrained_cfg"]
    assert (prepared["input_size"], prepared["mean"], prepared["std"]) == (
        [3, 16, 16],
        [0.1, 0.2, 0.3],
        [0.4, 0.5, 0.6],
    )
    assert (prepared["crop_mode"], prepared["crop_pct"]) == ("squash", 1.0)
    assert not {"tag", "license", "hf_hub_id", "url"} & prepared.keys()


def test_weights_of_fp64_are_rounded_to_float32(run, small_spec, tmp_path):
    result = run(small_spec(precision="fp64", steps=2))
    export(result.folder, tmp_path / "out")
    loaded = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True)
    assert result.weights["head.weight"].dtype == torch.float64
    assert torch.equal(loaded.state_dict()["head.weight"], result.weights["head.weight"].float())


def test_the_card_says_how_it_was_trained_and_what_nobody_knows(run, small_spec, tmp_path):
    spec = small_spec(method={"name": "looksam", "rho": 0.07, "k": 4, "alpha": 0.3}, steps=12)
    result = run(spec)
    export(result.folder, tmp_path / "out", title="A | name", run_id="ab12cd34ef56")
    card = (tmp_path / "out" / "README.md").read_text()
    header = yaml.safe_load(card.split("---")[1])
    assert header["library_name"] == "timm"
    assert "# A \\| name" in card
    assert "as run ab12cd34ef56" in card
    assert "**looksam** rho 0.07, k 4" in card
    assert "alpha 0.3" in card
    assert "| steps | 12 of 12 |" in card
    assert f"| gradient evaluations | {12 + 3} |" in card
    assert f"| Validation top-1 | {result.outcome.numbers['validation_top1']:.6g} | % |" in card
    assert "How flat the minimum is" in card
    assert "had not ended" not in card
    assert yaml.safe_load(card.split("```yaml")[1].split("```")[0]) == spec.model_dump(mode="json")


def test_the_card_says_whose_figures_they_are_where_there_is_an_average(run, small_spec, tmp_path):
    result = run(small_spec(ema_decay=0.9, steps=4))
    done = export(result.folder, tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    numbers = result.outcome.numbers
    assert "The exported weights are the moving average" in card
    assert f"| Validation top-1 of the average | {numbers['ema_validation_top1']:.6g} | % |" in card
    assert f"| Validation loss of the average | {numbers['ema_validation_loss']:.6g} | nat |" in card
    tested = replace(done.facts.saved, average=None, numbers={"test_top1": 87.5, "test_loss": 0.25})
    card = model_card(replace(done.facts, saved=tested), None)
    assert "| Test top-1 | 87.5 | % |" in card
    assert "| Test loss | 0.25 | nat |" in card
    assert "moving average" not in card


def test_a_run_in_the_middle_is_exported_from_its_newest_whole_checkpoint_and_says_so(run, small_spec, tmp_path):
    result = run(small_spec(checkpoint={"every_steps": 4, "keep": 3}))
    (checkpoint.folder_of(result.folder, 12) / "state.pt").write_bytes(b"torn")
    done = export(result.folder, tmp_path / "out")
    assert done.facts.saved.step == 8
    assert "| steps | 8 of 12: **the run had not ended** |" in (tmp_path / "out" / "README.md").read_text()


class TestCheckpointsWithoutPreparation:
    """As versions before that field wrote them."""

    def aged(self, result, tmp_path: Path) -> Path:
        saved = torch.load(checkpoint.folder_of(result.folder, result.outcome.step) / "state.pt", weights_only=True)
        del saved["preparation"]
        checkpoint.save(Saved(**saved), tmp_path / "aged", before_rename=lambda step, folder: None)
        return tmp_path / "aged"

    def test_the_data_is_asked(self, run, small_spec, tmp_path):
        result = run(small_spec(steps=2))
        done = export(self.aged(result, tmp_path), tmp_path / "out")
        assert done.facts.preparation == Preparation.from_document(result.saved().preparation)

    def test_data_that_is_gone_is_said_with_what_to_do(self, run, tmp_path, monkeypatch):
        folder = make_folder(tmp_path / "root" / "pets", 2, 4)
        result = run(folder_spec(folder))
        aged = self.aged(result, tmp_path)
        folder.rename(tmp_path / "elsewhere")
        monkeypatch.setenv(ROOTS_VARIABLE, str(tmp_path / "root"))
        with pytest.raises(TrainerError, match=r"did not keep the classes in it.*is not there.*resume the run"):
            export(aged, tmp_path / "out")
        assert not (tmp_path / "out").exists()


class TestTarget:
    def test_a_folder_that_holds_something_is_left_alone_without_force(self, run, small_spec, tmp_path):
        result = run(small_spec(steps=1))
        target = tmp_path / "out"
        target.mkdir()
        (target / "notes.txt").write_text("mine")
        (target / "model.onnx").write_text("of another export")
        with pytest.raises(TrainerError, match="is not empty: name another folder, or add --force"):
            export(result.folder, target)
        assert sorted(path.name for path in target.iterdir()) == ["model.onnx", "notes.txt"]
        export(result.folder, target, force=True)
        names = sorted(path.name for path in target.iterdir())
        assert names == ["README.md", "config.json", "model.safetensors", "notes.txt"]

    def test_a_failure_leaves_nothing(self, run, small_spec, tmp_path, monkeypatch):
        result = run(small_spec(steps=1))
        monkeypatch.setattr("trainer.export.model_card", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
        with pytest.raises(OSError, match="No space left"):
            export(result.folder, tmp_path / "exports" / "out")
        assert list((tmp_path / "exports").iterdir()) == []

    def test_a_model_whose_arguments_do_not_survive_is_refused(self, run, small_spec, tmp_path, monkeypatch):
        result = run(small_spec(steps=1))
        other = timm.create_model("vit_tiny_patch16_224", img_size=8, in_chans=1, num_classes=10, patch_size=4,
                                  embed_dim=16, depth=1, num_heads=2).eval()  # fmt: skip
        monkeypatch.setattr(stored_weights, "load_timm_folder", lambda folder: other)
        with pytest.raises(TrainerError, match="gives other logits"):
            export(result.folder, tmp_path / "out")


class TestCommand:
    def test_it_tells_what_it_wrote_as_json(self, run, small_spec, tmp_path, capsys):
        result = run(small_spec(steps=2))
        assert main(["--checkpoint", str(checkpoint.folder_of(result.folder, 2)), "--to", str(tmp_path / "out")]) == 0
        told = json.loads(capsys.readouterr().out)
        assert (told["event"], told["step"], told["total_steps"], told["num_classes"]) == ("exported", 2, 2, 10)
        assert set(told["files"]) == {"model.safetensors", "config.json", "README.md"}

    def test_a_folder_without_checkpoint_is_refused_in_a_sentence(self, tmp_path, capsys):
        assert main(["--checkpoint", str(tmp_path), "--to", str(tmp_path / "out")]) == 2
        told = json.loads(capsys.readouterr().out)
        assert told["event"] == "refused"
        assert f"{tmp_path} holds no checkpoint" in told["sentence"]
