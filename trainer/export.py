"""`python -m trainer.export --checkpoint FOLDER --to FOLDER`: a trained model as files that others can load.

    model.safetensors  weights and buffers          config.json   timm's hub layout, with the classes' names
    README.md          the run's figures            model.onnx    with --onnx

`basin run export` starts it and shows what it prints, one JSON object a line: {"event": "exported", ...}, or {"event":
"refused", "sentence"}. What is written is loaded back by timm and compared before it gets its place. Exit codes: 0
done, 2 refused, 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
from safetensors.torch import save_file
from timm.models._hub import save_config_for_hf
from torch import nn

from trainer import checkpoint, data, onnx_graph, stored_weights
from trainer.checkpoint import Saved
from trainer.contract.spec import TrainingSpec, stored_spec
from trainer.datasets.roots import shown
from trainer.errors import TrainerError, first_line, rejected
from trainer.model_card import CARD_FILE, Facts, model_card
from trainer.onnx_graph import ONNX_FILE
from trainer.preparation import Preparation
from trainer.stored_weights import CONFIG_FILE, WEIGHTS_FILE

DONE, REFUSED, INTERRUPTED = 0, 2, 130
FILES = (WEIGHTS_FILE, CONFIG_FILE, CARD_FILE, ONNX_FILE, f"{ONNX_FILE}.data")
"""All that an export may write; --force removes these and nothing else."""
ROOTS_VARIABLE = "BASIN_DATA_ROOTS"
OF_TIMMS_OWN_WEIGHTS = ("tag", "license", "origin_url", "paper_ids", "paper_name", "notes", "test_input_size")
"""Fields of timm's configuration that speak of the weights it offers, not of these."""


@dataclass(frozen=True, kw_only=True)
class Exported:
    folder: Path
    facts: Facts
    onnx: onnx_graph.Checked | None


def export(
    source: Path, target: Path, *, best: bool = False, onnx: bool = False, force: bool = False, title: str = "",
    run_id: str = "",
) -> Exported:  # fmt: skip
    """Exports the checkpoint `source`, or the newest of the run folder `source`, into the folder `target`.

    With `best` the one beside it instead that had the best validation so far.
    `target` is complete or as it was before. Raises TrainerError with a sentence for a person, and OSError.
    """
    _must_be_free(target, force)
    if onnx:
        onnx_graph.must_be_possible()
    path = stored_weights.best_checkpoint(source) if best else stored_weights.newest_checkpoint(source)
    saved = checkpoint.read(path)
    spec = stored_spec(saved.spec)
    preparation = preparation_of(saved, spec)
    network = stored_weights.network_of(saved, spec, preparation)
    facts = Facts(saved, spec, preparation, stored_weights.num_parameters(network), title=title, run_id=run_id)
    temporary = target.resolve().parent / f".exporting-{target.name}-{uuid4().hex[:8]}"
    temporary.mkdir(parents=True)
    try:
        _write_weights(network, temporary / WEIGHTS_FILE)
        _write_config(network, preparation, temporary / CONFIG_FILE)
        _must_load_back(network, preparation, temporary)
        checked = onnx_graph.write(network, preparation, temporary / ONNX_FILE) if onnx else None
        (temporary / CARD_FILE).write_text(model_card(facts, checked), encoding="utf-8")
        _put_in_place(temporary, target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return Exported(folder=target, facts=facts, onnx=checked)


def preparation_of(saved: Saved, spec: TrainingSpec) -> Preparation:
    """From the checkpoint; from the data itself where the checkpoint is older than that field. Raises TrainerError."""
    if saved.preparation:
        return Preparation.from_document(saved.preparation)
    variable = os.environ.get(ROOTS_VARIABLE)
    roots = [root for root in variable.split(":") if root] if variable else None
    try:
        images = data.load(spec, torch.device("cpu"), roots=roots)
    except TrainerError as error:
        raise TrainerError(
            error.reason,
            f"The checkpoint of step {saved.step} is of a version that did not keep the classes in it, and the data "
            f"cannot be asked: {error.detail} Make it readable (relative paths are looked up in {ROOTS_VARIABLE}), or "
            "resume the run for a step.",
        ) from error
    try:
        return Preparation.of(spec, images)
    finally:
        images.close()


def _must_be_free(target: Path, force: bool) -> None:
    if target.exists() and not target.is_dir():
        raise rejected(f"{shown(str(target))} is a file: name a folder to export to.")
    if target.is_dir() and not force and any(target.iterdir()):
        raise rejected(
            f"{shown(str(target))} is not empty: name another folder, or add --force, which replaces "
            f"{', '.join(FILES[:4])} in it and leaves the rest."
        )


def _write_weights(network: nn.Module, path: Path) -> None:
    # Copies: safetensors refuses tensors that share memory, as tied weights do.
    tensors = {name: tensor.detach().clone().contiguous() for name, tensor in network.state_dict().items()}
    save_file(tensors, path, metadata={"format": "pt"})
    path.chmod(path.parent.stat().st_mode & 0o666)  # safetensors lets nobody else read it


def _write_config(network: nn.Module, preparation: Preparation, path: Path) -> None:
    side = preparation.side
    input_and_crop = {
        "input_size": (preparation.channels, side, side), "mean": tuple(preparation.mean),
        "std": tuple(preparation.std), "interpolation": preparation.interpolation, "crop_pct": preparation.crop_pct,
        "crop_mode": preparation.crop_mode,
    }  # fmt: skip
    names = {"label_names": preparation.class_names} if preparation.class_names else {}
    try:
        save_config_for_hf(network, str(path), model_config=names, data_config=input_and_crop)
    except (ValueError, AttributeError) as error:
        raise rejected(f"timm cannot describe the model in its layout ({first_line(error)}).") from error
    document = json.loads(path.read_text(encoding="utf-8"))
    for field in OF_TIMMS_OWN_WEIGHTS:
        document["pretrained_cfg"].pop(field, None)
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def _must_load_back(network: nn.Module, preparation: Preparation, folder: Path) -> None:
    """The files must give the logits of the checkpoint bit for bit: a wrong configuration must not leave this house."""
    again = stored_weights.load_timm_folder(folder)
    images = stored_weights.random_images(preparation)
    with torch.no_grad():
        if not torch.equal(network(images), again(images)):
            raise rejected(
                f"{type(network).__name__} as timm loads it back from the export gives other logits: its arguments do "
                "not survive config.json. Load the checkpoint itself."
            )


def _put_in_place(temporary: Path, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        (target / name).unlink(missing_ok=True)
    for file in temporary.iterdir():
        os.replace(file, target / file.name)


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        done = export(
            options.checkpoint, options.to, best=options.best, onnx=options.onnx, force=options.force,
            title=options.title, run_id=options.run,
        )  # fmt: skip
    except TrainerError as error:
        return _refuse(error.detail)
    except OSError as error:
        return _refuse(f"{error.filename or options.to} could not be written ({error.strerror}).")
    except KeyboardInterrupt:
        return INTERRUPTED
    facts = done.facts
    _print({
        "event": "exported",
        "folder": str(done.folder.resolve()),
        "files": {name: (done.folder / name).stat().st_size for name in FILES if (done.folder / name).exists()},
        "model": facts.spec.model.name,
        "num_parameters": facts.num_parameters,
        "num_classes": facts.preparation.num_classes,
        "step": facts.saved.step,
        "total_steps": facts.total_steps,
        "onnx_largest_difference": done.onnx.largest_difference if done.onnx else None,
    })  # fmt: skip
    return DONE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m trainer.export", description="Exports a trained model.")
    parser.add_argument("--checkpoint", type=Path, required=True, help="a checkpoint, or a folder with checkpoints/")
    parser.add_argument("--to", type=Path, required=True, help="folder to write to, empty or not there")
    parser.add_argument("--best", action="store_true", help="take the best validation's checkpoint beside it instead")
    parser.add_argument("--onnx", action="store_true", help="write model.onnx too")
    parser.add_argument("--force", action="store_true", help="replace what an export left in the folder")
    parser.add_argument("--title", default="", help="title of the model card (default: the model's name)")
    parser.add_argument("--run", default="", help="id of the run, for the model card")
    return parser


def _refuse(sentence: str) -> int:
    _print({"event": "refused", "sentence": sentence})
    return REFUSED


def _print(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
