"""The ONNX graph of an export computes what torch computes, for any number of images."""

from __future__ import annotations

import json

import pytest
import torch

from tests.unit.trainer.test_export import trained_network
from trainer import onnx_graph
from trainer.errors import TrainerError
from trainer.export import export, main

MODELS = [
    {"name": "vit_tiny_patch16_224", "arguments": {"patch_size": 4, "embed_dim": 16, "depth": 1, "num_heads": 2}},
    {"name": "test_resnet"},
]
TOLERANCE = 2e-6
"""Relative to the largest logit: 30 roundings of float32 (6e-8). Measured are 1e-7 to 4e-7; a graph with one wrong
weight is off by 1e-2."""


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model["name"])
def test_onnxruntime_gives_torchs_logits_for_any_number_of_images(run, small_spec, tmp_path, model):
    for package in onnx_graph.NEEDED:
        pytest.importorskip(package)
    result = run(small_spec(model=model, steps=4))
    done = export(result.folder, tmp_path / "out", onnx=True)
    network = trained_network(result.saved())
    for num in (1, 2, 7):
        images = torch.randn(num, 1, 8, 8, generator=torch.Generator().manual_seed(num))
        assert onnx_graph.largest_difference(network, images, tmp_path / "out" / "model.onnx") < TOLERANCE
    assert done.onnx is not None
    assert done.onnx.largest_difference < TOLERANCE
    card = (tmp_path / "out" / "README.md").read_text()
    assert f"{done.onnx.largest_difference:.1e} of the largest" in card

    with torch.no_grad():  # the comparison sees a weight that is not the graph's
        next(network.parameters()).flatten()[0] += 1.0
    assert (
        onnx_graph.largest_difference(network, images, tmp_path / "out" / "model.onnx") > onnx_graph.LARGEST_DIFFERENCE
    )


def test_a_graph_that_computes_something_else_is_not_given_away(run, small_spec, tmp_path, monkeypatch):
    for package in onnx_graph.NEEDED:
        pytest.importorskip(package)
    result = run(small_spec(steps=1))
    monkeypatch.setattr(onnx_graph, "largest_difference", lambda *_: float("nan"))
    with pytest.raises(TrainerError, match="it is not the same model"):
        export(result.folder, tmp_path / "out", onnx=True)
    assert not (tmp_path / "out").exists()


def test_what_is_not_installed_is_named_before_anything_is_read(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(onnx_graph, "NEEDED", ("onnx_of_nobody",))
    assert main(["--checkpoint", str(tmp_path / "none"), "--to", str(tmp_path / "out"), "--onnx"]) == 2
    sentence = json.loads(capsys.readouterr().out)["sentence"]
    assert sentence == (
        "--onnx needs onnx_of_nobody, not installed here: `pip install 'basin[onnx]'`, or leave --onnx out."
    )
