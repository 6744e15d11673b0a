"""A trained network as an ONNX graph, compared with torch before it is given away.

torch's exporter needs onnx and onnxscript, the comparison onnxruntime: the extra `basin[onnx]`, 70 MB that training
does without.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from trainer import stored_weights
from trainer.errors import first_line, rejected
from trainer.model import InputShape

ONNX_FILE = "model.onnx"
INPUT_NAME, OUTPUT_NAME = "pixels", "logits"
OPSET = 18
"""What torch's exporter writes by itself; runtimes since 2023 read it."""
NEEDED = ("onnx", "onnxscript", "onnxruntime")
LARGEST_DIFFERENCE = 1e-4
"""Of logits, relative to the largest: float32 has 6e-8, a network adds some hundred times thousands of products in
another order (measured: 1e-7 to 1e-6 on small ViTs and ResNets), a wrong operator is off by far more."""


@dataclass(frozen=True, kw_only=True)
class Checked:
    opset: int
    largest_difference: float
    """Between the logits of onnxruntime and torch on random images, over the largest logit."""


def must_be_possible() -> None:
    """Raises TrainerError naming what is not installed."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise rejected(
            f"--onnx needs {', '.join(missing)}, not installed here: `pip install 'basin[onnx]'`, or leave --onnx out."
        )


def write(network: nn.Module, shape: InputShape, path: Path) -> Checked:
    """Writes the graph for any number of images; weights of 2 GB and more go into a file beside it.

    Raises TrainerError where the exporter cannot follow the network, or where the graph computes something else.
    """
    images = stored_weights.random_images(shape)
    batch = torch.export.Dim("images", min=1)
    try:
        with _quiet():
            program = torch.onnx.export(
                network, (images,), dynamo=True, input_names=[INPUT_NAME], output_names=[OUTPUT_NAME],
                dynamic_shapes=({0: batch},), opset_version=OPSET, verbose=False,
            )  # fmt: skip
            assert program is not None, "with dynamo=True there is one"
            program.save(path)
    except Exception as error:  # the exporter raises whatever its passes meet
        raise rejected(
            f"torch could not express {type(network).__name__} in ONNX ({type(error).__name__}: {first_line(error)}). "
            "Leave --onnx out."
        ) from error
    # Another number of images than it was written with: a graph that fixed the batch would show here.
    difference = largest_difference(network, stored_weights.random_images(shape, 3), path)
    if not difference <= LARGEST_DIFFERENCE:
        raise rejected(
            f"The ONNX graph's logits differ by {difference:.1e} of the largest, more than {LARGEST_DIFFERENCE}: it is "
            "not the same model. Leave --onnx out."
        )
    return Checked(opset=OPSET, largest_difference=difference)


def largest_difference(network: nn.Module, images: torch.Tensor, path: Path) -> float:
    """Largest |onnxruntime - torch| of the logits, over the largest |torch|."""
    import onnxruntime

    session = onnxruntime.InferenceSession(os.fspath(path), providers=["CPUExecutionProvider"])
    [found] = session.run([OUTPUT_NAME], {INPUT_NAME: images.numpy()})
    with torch.no_grad():
        expected = network(images)
    return float((torch.from_numpy(found) - expected).abs().max() / expected.abs().max())


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter prints its progress and logs what concerns its authors; standard output here is for JSON alone."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
