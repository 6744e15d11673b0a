"""`model.init_from`: fine-tuning starts with the weights that are named, or says which of them do not fit."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import timm
import torch
from pydantic import ValidationError

from trainer import checkpoint, data
from trainer.contract.ends import EndReason
from trainer.contract.problems import problems_of
from trainer.contract.spec import TrainingSpec
from trainer.errors import TrainerError
from trainer.export import export
from trainer.initial import load_
from trainer.model import build
from trainer.parallel import World

WORLD = World.single()
VIT = {"patch_size": 4, "embed_dim": 16, "depth": 1, "num_heads": 2}


def with_init(spec: TrainingSpec, **init: object) -> TrainingSpec:
    document = spec.model_dump(mode="json")
    document["model"]["init_from"] = init
    return TrainingSpec.model_validate(document)


@pytest.fixture
def start(recorder):
    """The network as a run's first step finds it, and the notices given."""

    def go(spec: TrainingSpec, images=None, *, of_run=(), roots=None):
        images = images or data.load(spec, WORLD.device)
        network, listener = build(spec, images, WORLD), recorder()
        load_(network, spec, images, WORLD, listener, of_run=of_run, roots=roots)
        return network, listener.notices

    return go


@pytest.fixture
def trained(run, small_spec):
    return run(small_spec(seed=1, steps=3))


def same(network: torch.nn.Module, weights: dict[str, torch.Tensor]) -> bool:
    own = network.state_dict()
    return own.keys() == weights.keys() and all(torch.equal(own[name], weights[name]) for name in own)


def test_somebody_sees_life_while_rank_0_reads(small_spec, trained, recorder, monkeypatch):
    """Hashing a large checkpoint or fetching weights takes minutes; a group that stands still is ended."""
    seen = threading.Event()

    class Watched(World):
        def passed(self):
            seen.set()

    read = checkpoint.read

    def slowly(path):
        assert seen.wait(30), "no sign of life"
        return read(path)

    monkeypatch.setattr(checkpoint, "read", slowly)
    spec = with_init(small_spec(), checkpoint=str(trained.folder))
    images, world = data.load(spec, WORLD.device), Watched(rank=0, size=1, device=WORLD.device)
    network = build(spec, images, world)
    seen.clear()
    load_(network, spec, images, world, recorder(), of_run=(), roots=None)
    assert same(network, read(checkpoint.folder_of(trained.folder, 3)).model)


class TestSources:
    def test_a_checkpoint_a_run_folder_and_an_export_give_the_trained_weights(
        self, start, small_spec, trained, tmp_path
    ):
        export(trained.folder, tmp_path / "out")
        path = checkpoint.folder_of(trained.folder, 3)
        assert not same(build(small_spec(), data.load(small_spec(), WORLD.device), WORLD), trained.weights)
        for init, named in (
            ({"checkpoint": str(path)}, path),
            ({"checkpoint": str(trained.folder)}, path),
            ({"folder": str(tmp_path / "out")}, tmp_path / "out"),
        ):
            network, notices = start(with_init(small_spec(), **init))
            assert same(network, trained.weights)
            assert notices == [("initial_weights", f"Started with the weights of {named}.", 0)]

    def test_a_run_is_read_from_its_newest_whole_checkpoint(self, start, run, small_spec):
        result = run(small_spec(checkpoint={"every_steps": 4, "keep": 3}))
        paths = checkpoint.found_in(result.folder)
        (paths[0] / "state.pt").write_bytes(b"torn")
        network, _ = start(with_init(small_spec(), run="ab12"), of_run=paths)
        assert same(network, result.saved(8).model)

    def test_a_run_without_checkpoints_is_said(self, start, small_spec):
        with pytest.raises(TrainerError, match=r"init_from.run is ab12: has no checkpoint") as caught:
            start(with_init(small_spec(), run="ab12"))
        assert caught.value.reason is EndReason.spec_rejected_by_trainer

    def test_weights_of_timm_are_adapted_to_channels_and_classes(self, start, small_spec, monkeypatch):
        torch.manual_seed(5)
        offered = timm.create_model("test_vit").state_dict()  # stands in for the hub: 3 channels, 1,000 classes
        monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", lambda *_, **__: dict(offered))
        spec = with_init(small_spec(model={"name": "test_vit", "image_size": 160}), timm_pretrained=True)
        network, [(_, sentence, _)] = start(spec)
        own = network.state_dict()
        assert "the head was drawn anew for 10 classes" in sentence
        assert torch.equal(own["blocks.0.attn.qkv.weight"], offered["blocks.0.attn.qkv.weight"])
        # One channel for three: timm sums them, so that a grey image gives what its copy in three channels gave.
        torch.testing.assert_close(
            own["patch_embed.proj.weight"], offered["patch_embed.proj.weight"].sum(1, keepdim=True)
        )
        again, _ = start(spec)
        assert torch.equal(again.state_dict()["head.weight"], own["head.weight"])  # by the seed

    def test_what_timm_does_not_offer_is_said_with_what_to_do(self, start, small_spec):
        spec = with_init(small_spec(model={"name": "test_vit",
                                           "image_size": 160}), timm_pretrained=True)  # fmt: skip
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("timm.models._builder.load_state_dict_from_hf", _no_network)
            with pytest.raises(TrainerError, match=r"timm_pretrained: .*no network.*model.init_from.folder"):
                start(spec)


def _no_network(*_: object, **__: object) -> None:
    raise OSError("no network")


class TestFit:
    def test_another_number_of_classes_leaves_the_new_head_and_takes_the_rest(self, start, small_spec, trained):
        spec = with_init(small_spec(seed=9), checkpoint=str(trained.folder))
        images = data.load(spec, WORLD.device)
        seven = type(images)(train=images.train, validation=images.validation, num_classes=7, channels=1, side=8)
        fresh = build(spec, seven, WORLD).state_dict()
        network, [(_, sentence, _)] = start(spec, seven)
        own = network.state_dict()
        assert sentence.endswith("; the head was drawn anew for 7 classes (head.bias, head.weight).")
        for name, value in own.items():
            assert torch.equal(value, fresh[name] if name.startswith("head.") else trained.weights[name]), name

    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            ({**VIT, "depth": 2}, r"blocks.1.norm1.weight is missing, .* more\. Take the model"),
            ({**VIT, "qkv_bias": False}, r"blocks.0.attn.qkv.bias is not in this model"),
            ({**VIT, "patch_size": 2}, r"pos_embed is \(1, 5, 16\) there and \(1, 17, 16\) here"),
            ({**VIT, "embed_dim": 32}, r"cls_token is \(1, 1, 16\) there and \(1, 1, 32\) here"),
        ],
    )
    def test_what_does_not_fit_is_named(self, start, small_spec, trained, arguments, told):
        model = {"name": "vit_tiny_patch16_224", "arguments": arguments}
        with pytest.raises(TrainerError, match=told) as caught:
            start(with_init(small_spec(model=model), checkpoint=str(trained.folder)))
        assert caught.value.reason is EndReason.spec_rejected_by_trainer


class TestRoots:
    def test_paths_must_lie_in_the_roots_links_followed(self, start, small_spec, trained, tmp_path):
        root = tmp_path / "root"
        root.mkdir()
        (root / "link").symlink_to(trained.folder)
        for path in (str(trained.folder), "link"):
            with pytest.raises(TrainerError, match=r"init_from.checkpoint .*outside the data root") as caught:
                start(with_init(small_spec(), checkpoint=path), roots=[str(root)])
            assert caught.value.reason is EndReason.data_unreadable

    def test_a_relative_path_is_looked_up_in_them(self, start, small_spec, trained):
        network, _ = start(with_init(small_spec(), checkpoint=trained.folder.name), roots=[str(trained.folder.parent)])
        assert same(network, trained.weights)

    def test_what_is_not_there_is_named(self, start, small_spec, tmp_path):
        with pytest.raises(TrainerError, match=r"init_from.folder .*gone is not there: .* model.safetensors"):
            start(with_init(small_spec(), folder=str(tmp_path / "gone")))


class TestRuns:
    def test_a_run_begins_there_and_a_resume_reads_its_own_checkpoint(self, run, small_spec, trained, tmp_path: Path):
        source = tmp_path / "source"
        trained.folder.rename(source)
        spec = with_init(small_spec(checkpoint={"every_steps": 4, "keep": 5}), checkpoint=str(source))
        whole = run(spec)
        assert [code for code, _, _ in whole.recorder.notices] == ["initial_weights"]
        assert not same_weights(whole.weights, run(small_spec()).weights)
        source.rename(tmp_path / "gone")
        again = run(spec, resume=[checkpoint.folder_of(whole.folder, 4)])
        assert again.recorder.notices == []
        assert same_weights(again.weights, whole.weights)


def same_weights(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize(
    "init", [{}, {"run": "ab12", "folder": "out"}, {"timm_pretrained": False}, {"run": "ab12", "timm_pretrained": True}]
)
def test_exactly_one_source_is_named(small_spec, init):
    with pytest.raises(ValidationError) as caught:
        with_init(small_spec(), **init)
    [problem] = problems_of(caught.value)
    assert problem.path == "model.init_from"
    assert "exactly one of checkpoint, run, folder and timm_pretrained: true" in problem.allowed
