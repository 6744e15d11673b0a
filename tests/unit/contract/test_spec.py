"""The training spec: what it accepts, what it refuses, and in which words."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from trainer.contract.methods import LookSAM
from trainer.contract.problems import SpecProblem, problems_of
from trainer.contract.spec import TrainingSpec, stored_spec

SMALLEST: dict[str, Any] = {
    "model": {"name": "vit_tiny_patch16_224"},
    "optimizer": {"name": "adamw", "lr": 1e-3},
    "global_batch_size": 64,
    "steps": 10,
}


def refused(change: dict[str, Any]) -> list[SpecProblem]:
    with pytest.raises(ValidationError) as caught:
        TrainingSpec.model_validate(SMALLEST | change)
    return problems_of(caught.value)


def test_the_smallest_spec_has_every_default_filled_in() -> None:
    spec = TrainingSpec.model_validate(SMALLEST)
    assert spec.method.name == "none"
    assert spec.data.source == "digits"
    assert TrainingSpec.model_validate_json(spec.model_dump_json()) == spec


ASCENDING = {"rho", "k", "rho_schedule", "start_step", "stop_step", "perturbation"}


@pytest.mark.parametrize(
    ("method", "fields"),
    [
        ({"name": "none"}, {"name"}),
        ({"name": "sam"}, {"name", *ASCENDING}),
        ({"name": "looksam"}, {"name", *ASCENDING, "alpha", "scope"}),
        ({"name": "layersam", "rho": 0.1}, {"name", *ASCENDING, "layerwise", "one_dimensional"}),
        (
            {"name": "look_layersam", "rho": 0.1},
            {"name", *ASCENDING, "alpha", "scope", "layerwise", "one_dimensional"},
        ),
    ],
)
def test_each_method_has_exactly_its_fields(method: dict[str, Any], fields: set[str]) -> None:
    spec = TrainingSpec.model_validate(SMALLEST | {"method": method})
    assert set(spec.method.model_dump()) == fields


def test_the_methods_defaults_are_those_of_the_issue() -> None:
    sam = TrainingSpec.model_validate(SMALLEST | {"method": {"name": "sam"}}).method
    looksam = TrainingSpec.model_validate(SMALLEST | {"method": {"name": "looksam"}}).method
    shared = {"rho_schedule": "constant", "start_step": 0, "stop_step": None, "perturbation": "global"}
    assert sam.model_dump() == {"name": "sam", "rho": 0.05, "k": 1, **shared}
    assert isinstance(looksam, LookSAM)
    assert looksam.model_dump() == {
        "name": "looksam", "rho": 0.05, "k": 5, "alpha": "auto", "scope": "global", **shared,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "path", "value", "allowed"),
    [
        ({"colour": 1}, "colour", "1", "no such field"),
        ({"method": {"name": "sam", "alpha": 0.1}}, "method.alpha", "0.1", "no such field"),
        ({"method": {"name": "sam", "rho": -1}}, "method.rho", "-1", ">= 0"),
        ({"method": {"name": "looksam", "alpha": -0.5}}, "method.alpha", "-0.5", ">= 0"),
        ({"method": {"name": "looksam", "k": 0}}, "method.k", "0", ">= 1"),
        ({"method": {"name": "sam", "start_step": 9, "stop_step": 9}}, "method.stop_step", "9", "> `start_step` 9"),
        ({"ascent_precision": "fp32"}, "ascent_precision", "fp32", "beside `precision`"),
        ({"method": {"name": "adam"}}, "method.name", "'adam'", "'looksam'"),
        ({"model": {"name": "vit_tiny_patch16"}}, "model.name", "'vit_tiny_patch16'", "vit_tiny_patch16_224"),
        ({"model": {"name": "resnet18", "arguments": {"in_chans": 1}}}, "model.arguments", "", "in_chans"),
        ({"global_batch_size": 65, "resources": {"workers": 2}}, "global_batch_size", "65", "must divide"),
        ({"micro_batch_size": 48}, "micro_batch_size", "48", "must divide"),
        ({"epochs": 3}, "steps", "10", "only one of"),
        ({"steps": None}, "steps", "None", "epochs"),
        ({"seed": -1}, "seed", "-1", ">= 0"),
        ({"precision": "fp8"}, "precision", "'fp8'", "'bf16'"),
        ({"optimizer": {"name": "adamw", "lr": float("nan")}}, "optimizer.lr", "nan", "finite"),
    ],
)
def test_bad_input_names_the_field_the_value_and_what_is_allowed(
    change: dict[str, Any], path: str, value: str, allowed: str
) -> None:
    [problem] = refused(change)
    assert problem.path == path
    assert problem.value == value
    assert allowed in problem.allowed + problem.remedy
    assert problem.remedy


SHARDED: dict[str, Any] = {"execution": {"sharding": "full"}, "resources": {"workers": 2}}


@pytest.mark.parametrize(
    ("change", "path", "value", "allowed"),
    [
        ({"resources": {"workers": 1}}, "resources.workers", "1", "> 1"),
        ({"optimizer": {"name": "lamb", "lr": 0.1}}, "optimizer.name", "lamb", "sgd, adamw, lion"),
        ({"optimizer": {"name": "lars", "lr": 0.1}}, "optimizer.name", "lars", "sgd, adamw, lion"),
        ({"optimizer": {"name": "muon", "lr": 0.1}}, "optimizer.name", "muon", "sgd, adamw, lion"),
        ({"method": {"name": "sam", "perturbation": "per_rank"}}, "method.perturbation", "per_rank", "global"),
        ({"ema_decay": 0.9}, "ema_decay", "0.9", "null"),
        ({"execution": {"sharding": "full", "compile": True}}, "execution.compile", "True", "false"),
        ({"evaluation": {"curvature_images": 10}}, "evaluation.curvature_images", "10", "null"),
        ({"execution": {"sharding": "full", "channels_last": True}}, "execution.channels_last", "True", "false"),
    ],
)
def test_what_cannot_be_sharded_is_refused_with_the_remedy(
    change: dict[str, Any], path: str, value: str, allowed: str
) -> None:
    assert TrainingSpec.model_validate(SMALLEST | SHARDED).execution.sharding == "full"
    [problem] = refused(SHARDED | change)
    assert (problem.path, problem.value) == (path, value)
    assert allowed in problem.allowed
    assert "set `execution.sharding` to none" in problem.remedy
    TrainingSpec.model_validate(SMALLEST | change | {"execution": {}})  # it is only refused beside sharding


def test_all_problems_are_told_at_once() -> None:
    problems = refused({"method": {"name": "looksam", "rho": -1, "k": 0, "alpha": -1}, "seed": -1})
    assert [p.path for p in problems] == ["method.rho", "method.k", "method.alpha", "seed"]


def test_a_stored_spec_of_a_newer_version_is_read_without_its_unknown_fields() -> None:
    stored = SMALLEST | {"method": {"name": "sam", "newer": 1}, "newer": {"x": 1}}
    assert stored_spec(stored).method.name == "sam"


@given(workers=st.integers(1, 16), micro=st.integers(1, 32), accumulation=st.integers(1, 8))
def test_the_batch_is_workers_times_micro_batch_times_accumulation(workers: int, micro: int, accumulation: int) -> None:
    total = workers * micro * accumulation
    batch = {"global_batch_size": total, "micro_batch_size": micro, "resources": {"workers": workers}}
    spec = TrainingSpec.model_validate(SMALLEST | batch)
    assert (spec.world_size, spec.pass_size, spec.accumulation) == (workers, micro, accumulation)


@given(epochs=st.floats(0.01, 50), images=st.integers(1, 2000), batch=st.integers(1, 4000))
def test_epochs_become_the_fewest_steps_that_see_so_many_images(epochs: float, images: int, batch: int) -> None:
    spec = TrainingSpec.model_validate(SMALLEST | {"steps": None, "epochs": epochs, "global_batch_size": batch})
    steps = spec.total_steps(images)
    assert steps >= 1
    assert steps * batch >= epochs * images * (1 - 1e-12)
    assert steps == 1 or (steps - 1) * batch < epochs * images * (1 + 1e-12)


@pytest.mark.parametrize("name", ["layersam", "look_layersam"])
@pytest.mark.parametrize(
    ("rule", "unit"),
    [
        ({}, "rho * ||w^l||"),
        ({"layerwise": "literal"}, "depends on the scale of the loss"),
        ({"layerwise": "unit"}, "an absolute L2 norm for each tensor"),
        ({"layerwise": "asam_dual"}, "relative, over all tensors together"),
    ],
)
def test_a_layerwise_method_without_rho_is_told_its_unit(name: str, rule: dict[str, str], unit: str) -> None:
    [problem] = refused({"method": {"name": name, **rule}})
    assert problem.path == "method.rho"
    assert unit in problem.allowed


def test_a_folder_for_validation_and_a_fraction_exclude_each_other() -> None:
    folder = {"source": "image_folder", "train": "pets/train"}
    [problem] = refused({"data": {**folder, "validation": "pets/val", "validation_fraction": 0.2}})
    assert problem.path == "data.validation_fraction"
    assert TrainingSpec.model_validate(SMALLEST | {"data": folder}).data.held_out == 0.1  # type: ignore[union-attr]


@pytest.mark.parametrize("words", ["rand", "rand-m9-n2-mstd0.5-inc1", "rand-mmax8-p0.5", "rand-m10-p1.0"])
def test_rand_augment_is_given_in_timms_words(words: str) -> None:
    folder = {"source": "image_folder", "train": "pets/train", "augmentation": {"auto_augment": words}}
    TrainingSpec.model_validate(SMALLEST | {"data": folder})


@pytest.mark.parametrize(
    "words", ["", "augmix-m3", "rand-x3", "rand-m11", "rand-mmax12", "rand-n0", "rand-m9-", "rand-p2", "rand m9"]
)
def test_other_words_are_refused(words: str) -> None:
    folder = {"source": "image_folder", "train": "pets/train", "augmentation": {"auto_augment": words}}
    [problem] = refused({"data": folder})
    assert problem.path == "data.augmentation.auto_augment"


def test_jitter_beside_rand_augment_is_refused() -> None:
    augmentation = {"auto_augment": "rand-m9", "color_jitter": 0.4}
    [problem] = refused({"data": {"source": "image_folder", "train": "x", "augmentation": augmentation}})
    assert (problem.path, problem.value) == ("data.augmentation.color_jitter", "0.4")


@pytest.mark.parametrize(
    ("section", "path"),
    [
        ({"source": "huggingface"}, "data.name"),
        ({"source": "huggingface", "path": "a", "name": "b/c"}, "data.name"),
        ({"source": "huggingface", "path": "a", "download": True}, "data.download"),
        ({"source": "huggingface", "path": "a", "revision": "main"}, "data.revision"),
        ({"source": "huggingface", "name": "../c"}, "data.name"),
        ({"source": "huggingface", "name": "c"}, "data.name"),
        ({"source": "huggingface", "path": "a", "train": "train[:10]"}, "data.train"),
        ({"source": "torchvision", "name": "imagenet", "path": "a"}, "data.name"),
        ({"source": "torchvision", "name": "mnist"}, "data.path"),
        ({"source": "webdataset", "train": "a.tar", "validation": "b.tar", "validation_fraction": 0.1},
         "data.validation_fraction"),
    ],
)  # fmt: skip
def test_what_a_source_cannot_be_asked_is_refused_by_its_field(section: dict[str, object], path: str) -> None:
    assert [problem.path for problem in refused({"data": section})] == [path]


@pytest.mark.parametrize(
    ("pattern", "folder"),
    [
        ("a.tar", "."), ("pets/a-{0..3}.tar", "pets"), ("pets/{a,b}/x.tar", "pets"), ("/data/x*.tar", "/data"),
        ("/x.tar", "/"), ("/{a,b}.tar", "/"), ("pets/deep/a.tar", "pets/deep"), ("*/a.tar", "."),
    ],
)  # fmt: skip
def test_the_folder_of_shards_is_what_stands_before_braces_and_wildcards(pattern: str, folder: str) -> None:
    spec = TrainingSpec.model_validate(SMALLEST | {"data": {"source": "webdataset", "train": pattern}})
    assert spec.data.folders == [("train", folder)]


def test_data_without_a_source_means_the_digits() -> None:
    spec = TrainingSpec.model_validate(SMALLEST | {"data": {"train_size": 100}})
    assert spec.data.model_dump() == {
        "source": "digits", "validation_fraction": 0.2, "train_size": 100, "split_seed": 0,
    }  # fmt: skip
    [problem] = refused({"data": {"train": "pets/train"}})
    assert (problem.path, problem.allowed) == ("data.train", "no such field")
