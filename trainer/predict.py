"""`python -m trainer.predict --model FOLDER PATH`: classifies an image, or all images of a folder.

FOLDER is what `basin run export` wrote, another classifier in timm's hub layout, or a checkpoint. `basin predict`
starts it and shows what it prints, one JSON object a line: {"event": "prediction", "path", "classes": [{"label",
"name", "probability"}, ...]}, most probable first; {"event": "unreadable", "path", "why"}; {"event": "progress",
"done", "total"}; or {"event": "refused", "sentence"}. Exit codes: 0 done, 1 a file could not be read, 2 refused, 130
interrupted.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from timm.data import create_transform, resolve_model_data_config
from torch import Tensor, nn

from trainer import checkpoint, stored_weights
from trainer.contract.spec import stored_spec
from trainer.datasets.decoding import Undecodable, decode
from trainer.datasets.folder_files import EXTENSIONS
from trainer.datasets.roots import shown, unreadable
from trainer.datasets.transforms import Transform
from trainer.errors import TrainerError
from trainer.export import preparation_of
from trainer.preparation import Preparation

DONE, UNREADABLE, REFUSED, INTERRUPTED = 0, 1, 2, 130
IMAGES_AT_ONCE = 32


@dataclass(frozen=True, kw_only=True)
class Classifier:
    network: nn.Module
    """In evaluation mode, float32, on the CPU."""
    preparation: Preparation
    transform: Transform
    """Gives uint8 of shape (channels, side, side)."""

    @classmethod
    def load(cls, folder: Path) -> Classifier:
        """Raises TrainerError(data_unreadable)."""
        if stored_weights.is_timm_folder(folder):
            network = stored_weights.load_timm_folder(folder)
            return cls.of(network, _preparation_in(folder, network))
        saved = checkpoint.read(stored_weights.newest_checkpoint(folder))
        spec = stored_spec(saved.spec)
        preparation = preparation_of(saved, spec)
        return cls.of(stored_weights.network_of(saved, spec, preparation), preparation)

    @classmethod
    def of(cls, network: nn.Module, preparation: Preparation) -> Classifier:
        size = (preparation.channels, preparation.side, preparation.side)
        transform = create_transform(
            size, use_prefetcher=True, interpolation=preparation.interpolation, crop_pct=preparation.crop_pct,
            crop_mode=preparation.crop_mode,
        )  # fmt: skip
        return cls(network=network, preparation=preparation, transform=cast(Transform, transform))

    def pixels(self, path: str) -> Tensor:
        """As the run's validation saw its images: (channels, side, side), normalised. Raises Undecodable."""
        image = decode(path)
        if self.preparation.channels == 1:
            image = image.convert("L")
        mean, std = (
            (torch.tensor(values, dtype=torch.float64).view(-1, 1, 1) * 255).float()
            for values in (self.preparation.mean, self.preparation.std)
        )  # rounded once, as `transforms.Normalise` does
        return torch.as_tensor(self.transform(image)).float().sub_(mean).div_(std)

    @torch.no_grad()
    def probabilities(self, pixels: list[Tensor]) -> Tensor:
        """(images, classes)"""
        logits: Tensor = self.network(torch.stack(pixels))
        return logits.softmax(dim=1)

    def name(self, label: int) -> str:
        names = self.preparation.class_names
        return names[label] if label < len(names) else str(label)


def _preparation_in(folder: Path, network: nn.Module) -> Preparation:
    config = stored_weights.config_in(folder)
    settings = resolve_model_data_config(network)
    names = config.get("label_names") or []
    if isinstance(names, dict):  # timm allows gaps
        names = [names.get(str(label), str(label)) for label in range(int(network.num_classes))]  # type: ignore[arg-type]
    channels, height, width = settings["input_size"]
    if height != width:
        raise unreadable(f"{shown(str(folder))} takes images of {height} x {width}: only squares are known here.")
    return Preparation(
        num_classes=int(network.num_classes),  # type: ignore[arg-type]
        channels=channels, side=height, mean=list(settings["mean"]), std=list(settings["std"]),
        interpolation=settings["interpolation"], crop_pct=settings["crop_pct"], crop_mode=settings["crop_mode"],
        class_names=[str(name) for name in names],
    )  # fmt: skip


def images_in(path: str) -> list[str]:
    """`path` itself, or the image files below it by their names, hidden ones passed over. Raises TrainerError."""
    if not os.path.isdir(path):
        if not os.path.exists(path):
            raise unreadable(f"{shown(path)} is not there: name an image or a folder of images.")
        return [path]
    found: list[str] = []
    for folder, folders, names in os.walk(path):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        images = sorted(name for name in names if name.lower().endswith(EXTENSIONS) and not name.startswith("."))
        found += [os.path.join(folder, name) for name in images]
    if not found:
        raise unreadable(f"{shown(path)} holds no image ({', '.join(EXTENSIONS)}): name another folder.")
    return found


def predictions(classifier: Classifier, paths: list[str], top: int) -> Iterator[dict[str, Any]]:
    """Messages of the images in their order, and progress after each batch."""
    for start in range(0, len(paths), IMAGES_AT_ONCE):
        chosen = paths[start : start + IMAGES_AT_ONCE]
        read: dict[str, Tensor | str] = {path: _read(classifier, path) for path in chosen}
        pixels = [each for each in read.values() if isinstance(each, Tensor)]
        rows = iter(classifier.probabilities(pixels)) if pixels else iter(())
        for path, each in read.items():
            if isinstance(each, str):
                yield {"event": "unreadable", "path": shown(path), "why": each}
            else:
                yield {"event": "prediction", "path": shown(path), "classes": _classes(classifier, next(rows), top)}
        yield {"event": "progress", "done": start + len(chosen), "total": len(paths)}


def _read(classifier: Classifier, path: str) -> Tensor | str:
    """Pixels, or why there are none."""
    try:
        return classifier.pixels(path)
    except Undecodable as error:
        return str(error)


def _classes(classifier: Classifier, probabilities: Tensor, top: int) -> list[dict[str, Any]]:
    best = probabilities.topk(min(top, len(probabilities)))
    return [
        {"label": label, "name": classifier.name(label), "probability": probability}
        for label, probability in zip(best.indices.tolist(), best.values.tolist(), strict=True)
    ]


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    code = DONE
    try:
        paths = images_in(options.path)  # before the weights: a wrong path is told at once
        for message in predictions(Classifier.load(options.model), paths, options.top):
            code = UNREADABLE if message["event"] == "unreadable" else code
            _print(message)
    except TrainerError as error:
        _print({"event": "refused", "sentence": error.detail})
        return REFUSED
    except KeyboardInterrupt:
        return INTERRUPTED
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m trainer.predict", description="Classifies images.")
    parser.add_argument("--model", type=Path, required=True, help="an exported folder, or a checkpoint")
    parser.add_argument("--top", type=int, default=5, help="how many classes to name")
    parser.add_argument("path", help="an image, or a folder of images")
    return parser


def _print(message: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BrokenPipeError:  # whoever wanted to know is gone
        os._exit(INTERRUPTED)
