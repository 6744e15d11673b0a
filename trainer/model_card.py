"""The model card of an export: what the model is, how it was trained, what was measured, and what nobody knows."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import yaml

from trainer.checkpoint import Saved
from trainer.contract.data import DigitsData
from trainer.contract.metrics import BY_NAME
from trainer.contract.spec import TrainingSpec
from trainer.onnx_graph import INPUT_NAME, ONNX_FILE, OUTPUT_NAME, Checked
from trainer.preparation import Preparation

CARD_FILE = "README.md"
FIGURES = (
    "test_top1", "test_loss", "ema_validation_top1", "ema_validation_loss", "validation_top1", "validation_loss",
    "train_top1", "train_loss", "sharpness", "hessian_top_eigenvalue", "gradient_evaluations", "seconds", "cpu_seconds",
)  # fmt: skip
"""Metrics of the card, in this order, where the run has them."""
MAX_NAMES = 50


@dataclass(frozen=True)
class Facts:
    """All that the card is written from."""

    saved: Saved
    spec: TrainingSpec
    preparation: Preparation
    num_parameters: int
    title: str = ""
    run_id: str = ""

    @property
    def total_steps(self) -> int | None:
        """Of the whole run; None where its length is in epochs and the number of images is not known."""
        if self.spec.steps is None and self.preparation.train_images is None:
            return None
        return self.spec.total_steps(self.preparation.train_images or 0)


def model_card(facts: Facts, onnx: Checked | None) -> str:
    """Markdown, with the header that model hubs read."""
    title = facts.title or f"{facts.spec.model.name}, step {facts.saved.step}"
    header = yaml.safe_dump(
        {"tags": ["image-classification", "timm"], "library_name": "timm", "pipeline_tag": "image-classification"},
        sort_keys=False,
    )
    lines = [
        f"---\n{header}---\n\n# {_line(title)}\n",
        *_about(facts),
        "\n## How to load\n",
        *_loading(facts, onnx),
        "\n## Figures\n",
        *_figures(facts),
        "\n## Input and classes\n",
        *_input(facts.preparation),
        "\n## Not known\n",
        *_not_known(facts),
        "\n## The spec\n",
        f"```yaml\n{yaml.safe_dump(facts.spec.model_dump(mode='json'), sort_keys=False).rstrip()}\n```",
    ]
    return "\n".join(lines) + "\n"


def _about(facts: Facts) -> Iterator[str]:
    spec, prepared = facts.spec, facts.preparation
    yield (
        f"{spec.model.name} with {facts.num_parameters:,} parameters, for {prepared.num_classes} classes, trained by "
        f"Basin {version('basin')}{f' as run {facts.run_id}' if facts.run_id else ''}."
    )
    yield ""
    yield "| | |\n|---|---|"
    yield f"| data | {_line(_data(facts))} |"
    yield f"| method | {_settings(spec.method.model_dump(mode='json'))} |"
    yield f"| base optimizer | {_settings(spec.optimizer.model_dump(mode='json'))} |"
    yield f"| schedule | {_settings(spec.schedule.model_dump(mode='json'))} |"
    total = facts.total_steps
    if total is None:
        of = f" of {spec.epochs:g} epochs; how many steps these are is not known"
    else:
        of = f" of {total:,}" + ("" if facts.saved.step >= total else ": **the run had not ended**")
    yield f"| steps | {facts.saved.step:,}{of} |"
    yield f"| gradient evaluations | {facts.saved.gradient_evaluations:,} |"
    yield f"| images in a step | {spec.global_batch_size:,} |"
    yield f"| precision | {spec.precision}; the exported weights are float32 |"
    yield f"| seed | {spec.seed} |"


def _data(facts: Facts) -> str:
    spec, prepared = facts.spec, facts.preparation
    source = spec.data.source if isinstance(spec.data, DigitsData) else _source(spec.data.model_dump(mode="json"))
    if prepared.train_images is None or prepared.validation_images is None:
        return source
    return f"{source}; {prepared.train_images:,} images for training, {prepared.validation_images:,} for validation"


def _source(data: dict[str, Any]) -> str:
    named = [f"`{value}`" for name, value in data.items() if name in ("train", "validation", "name") and value]
    return " ".join([str(data["source"]), *named])


def _settings(section: dict[str, Any]) -> str:
    """A section of the spec on one line, what is off left out."""
    shown = {name: value for name, value in section.items() if name != "name" and value is not None}
    return " ".join([f"**{section['name']}**", ", ".join(f"{name} {value}" for name, value in shown.items())]).strip()


def _loading(facts: Facts, onnx: Checked | None) -> Iterator[str]:
    yield "Where `FOLDER` is this folder; without `pretrained=True` timm draws new weights.\n"
    yield "```python"
    yield "import timm\n"
    yield 'model = timm.create_model("local-dir:FOLDER", pretrained=True).eval()'
    yield "transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))"
    yield "```\n"
    yield "Or `basin predict FOLDER IMAGE`."
    if onnx is not None:
        size = facts.preparation
        yield (
            f"\n`{ONNX_FILE}` (opset {onnx.opset}) takes `{INPUT_NAME}`, float32 of (images, {size.channels}, "
            f"{size.side}, {size.side}), normalised as below, and gives `{OUTPUT_NAME}`, (images, {size.num_classes}) "
            f"before the softmax. Its logits differ from torch's by at most {onnx.largest_difference:.1e} of the "
            "largest, measured with onnxruntime on random images when it was written."
        )


def _figures(facts: Facts) -> Iterator[str]:
    numbers = facts.saved.numbers
    shown = [BY_NAME[name] for name in FIGURES if name in numbers and name in BY_NAME]
    if not shown:
        yield "The checkpoint holds none."
        return
    yield "The last value of each; those of training are of one batch, before its step.\n"
    if facts.saved.average is not None:
        yield (
            "The exported weights are the moving average of those that were trained. Figures of the average are named "
            "so; all others are of the trained weights themselves.\n"
        )
    yield "| figure | value | |\n|---|---|---|"
    for metric in shown:
        yield f"| {metric.title} | {numbers[metric.name]:.6g} | {metric.unit if metric.unit != '1' else ''} |"


def _input(prepared: Preparation) -> Iterator[str]:
    yield (
        f"{prepared.channels} x {prepared.side} x {prepared.side} pixels: resized ({prepared.interpolation}), then "
        f"cropped ({prepared.crop_mode}, {prepared.crop_pct:g} of the side); colours from 0 to 1, minus mean "
        f"{_numbers(prepared.mean)}, divided by {_numbers(prepared.std)}."
    )
    names = prepared.class_names
    if names:
        more = f", and {len(names) - MAX_NAMES} more in config.json" if len(names) > MAX_NAMES else ""
        yield f"\nClasses, by label from 0: {', '.join(_line(name) for name in names[:MAX_NAMES])}{more}."


def _not_known(facts: Facts) -> Iterator[str]:
    yield "- How it does on images of other origin: the figures are of the validation images named above"
    yield "  (and where settings were chosen by them, they flatter)."
    yield "- Whether its probabilities are calibrated, and how it treats groups of people: nothing measured either."
    yield "- The licence and the origin of the data: ask whoever gave it."
    if not facts.preparation.class_names:
        yield "- The classes' names: the data named none."
    if "sharpness" not in facts.saved.numbers:
        yield "- How flat the minimum is: `evaluation.sharpness_radius` was off."
    yield (
        f"- The versions that trained it: the checkpoint does not keep them. Exported with torch {version('torch')}, "
        f"timm {version('timm')}, Python {platform.python_version()}."
    )


def _numbers(values: list[float]) -> str:
    return "(" + ", ".join(f"{value:g}" for value in values) + ")"


def _line(text: str) -> str:
    """One line; a bar would end the cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")
