"""How long a run will be, from its spec alone: steps and gradient evaluations, where the images can be counted."""

from __future__ import annotations

from math import ceil

from trainer.contract.data import DigitsData
from trainer.contract.methods import NoMethod
from trainer.contract.problems import SpecProblem
from trainer.contract.spec import TrainingSpec

DIGITS_BY_CLASS = (178, 182, 177, 183, 181, 182, 181, 179, 174, 180)
"""Images of each class; a test compares with scikit-learn's, and the counts below with the trainer's split."""


def digits_left(data: DigitsData) -> int:
    """Images that the validation set leaves for training, before `train_size`."""
    return sum(DIGITS_BY_CLASS) - round(sum(data.validation_fraction * count for count in DIGITS_BY_CLASS))


def train_images(spec: TrainingSpec) -> int | None:
    """Size of the training set; null where it takes reading the data."""
    if not isinstance(spec.data, DigitsData):
        return None
    return min(digits_left(spec.data), spec.data.train_size or sum(DIGITS_BY_CLASS))


def split_problems(spec: TrainingSpec) -> list[SpecProblem]:
    """A split that cannot be made, which the trainer would find out only when it starts."""
    data = spec.data
    if not isinstance(data, DigitsData):
        return []
    every, left = sum(DIGITS_BY_CLASS), digits_left(data)
    if left in (0, every):
        return [
            SpecProblem(
                path="spec.data.validation_fraction",
                value=str(data.validation_fraction),
                allowed=f"leaves no {'validation' if left else 'training'} image of {every}",
                remedy="Take a value further from 0 and 1",
            )
        ]
    if data.train_size is None or data.train_size <= left:
        return []
    return [
        SpecProblem(
            path="spec.data.train_size",
            value=str(data.train_size),
            allowed=f"must be <= {left}, which `validation_fraction` {data.validation_fraction:g} leaves of {every}",
            remedy="Lower one of the two",
        )
    ]


def total_steps(spec: TrainingSpec) -> int | None:
    """Optimizer steps; null where the length is in epochs of a set of unknown size."""
    if spec.steps is not None:
        return spec.steps
    images = train_images(spec)
    return spec.total_steps(images) if images is not None else None


def gradient_evaluations(spec: TrainingSpec, steps: int) -> int:
    """Forward-backward passes over a global batch in `steps` steps: one each, and one more at every refresh."""
    method = spec.method
    return steps if isinstance(method, NoMethod) else steps + ceil(steps / method.k)
