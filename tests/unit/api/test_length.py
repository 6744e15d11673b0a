"""What the API predicts of a run's length is what the trainer does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from api.runs.length import (
    DIGITS_BY_CLASS,
    digits_left,
    gradient_evaluations,
    split_problems,
    total_steps,
    train_images,
)
from trainer.contract.data import DigitsData
from trainer.contract.spec import TrainingSpec
from trainer.datasets.order import split
from trainer.errors import TrainerError

SPEC: dict[str, Any] = {
    "model": {"name": "vit_tiny_patch16_224"},
    "optimizer": {"name": "adamw", "lr": 0.001},
    "global_batch_size": 64,
}


def spec(**fields: Any) -> TrainingSpec:
    return TrainingSpec.model_validate({**SPEC, **({"steps": 100} if "epochs" not in fields else {}), **fields})


LABELS = load_digits().target.astype(np.int64)


def test_the_classes_are_counted_as_they_are() -> None:
    assert np.bincount(LABELS).tolist() == list(DIGITS_BY_CLASS)


@given(fraction=st.floats(0, 1, exclude_min=True, exclude_max=True), train_size=st.none() | st.integers(10, 1797))
def test_the_training_set_has_the_size_that_the_trainer_gives_it(fraction: float, train_size: int | None) -> None:
    data = DigitsData(validation_fraction=fraction, train_size=train_size)
    asked = spec(data=data.model_dump())
    try:
        train, _ = split(LABELS, validation_fraction=fraction, split_seed=0, train_size=train_size)
    except TrainerError:
        assert split_problems(asked)
    else:
        assert not split_problems(asked)
        assert train_images(asked) == len(train)


def test_steps_of_epochs_where_the_images_can_be_counted() -> None:
    left = digits_left(DigitsData())
    assert left == 1797 - 359
    assert total_steps(spec(epochs=2.5)) == -(-int(2.5 * left) // 64)
    assert total_steps(spec(epochs=2, data={"source": "digits", "train_size": 64})) == 2
    assert total_steps(spec(epochs=2, data={"source": "image_folder", "train": "x"})) is None
    assert total_steps(spec(steps=7, data={"source": "image_folder", "train": "x"})) == 7


@pytest.mark.parametrize(
    ("method", "evaluations"),
    [
        ({"name": "none"}, 11),
        ({"name": "sam"}, 22),
        ({"name": "sam", "k": 4}, 14),
        ({"name": "looksam", "k": 5}, 14),
        ({"name": "looksam", "k": 11}, 12),
        ({"name": "layersam", "rho": 0.1}, 22),
        ({"name": "look_layersam", "rho": 0.1, "k": 5}, 14),
    ],
)
def test_one_gradient_evaluation_a_step_and_one_more_a_refresh(method: dict[str, Any], evaluations: int) -> None:
    assert gradient_evaluations(spec(method=method), 11) == evaluations
