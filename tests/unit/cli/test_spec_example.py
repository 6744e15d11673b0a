"""`basin spec init`: whatever is chosen, the example is a valid spec, complete and explained, and stays so."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest
from pydantic import BaseModel
from typer.testing import CliRunner

from cli.failure import ExitCode, Failure
from cli.main import app
from cli.spec_example import DATA, METHODS, OPTIMIZERS, example, field_paths
from cli.spec_file import check, parse
from trainer.contract.data import ImageFolderData
from trainer.contract.methods import LookSAM
from trainer.contract.spec import Evaluation, TrainingSpec

CHOICES = list(itertools.product(METHODS, DATA, OPTIMIZERS))


def commented(text: str) -> dict[str, str]:
    """The comment above each field, by the field's path, read from the text as a person reads it."""
    comments: dict[str, str] = {}
    path: list[str] = []
    above: list[str] = []
    for line in text.splitlines():
        body = line.strip()
        if not body:
            above = []
        elif body.startswith("#"):
            above.append(body.removeprefix("#").strip())
        else:
            depth = (len(line) - len(line.lstrip())) // 2
            path = [*path[:depth], body.split(":")[0]]
            comments[".".join(path)] = " ".join(above)
            above = []
    return comments


@pytest.mark.parametrize(("method", "data", "optimizer"), CHOICES)
def test_every_choice_gives_a_valid_spec_with_that_choice(method: str, data: str, optimizer: str) -> None:
    document = parse(example(method=method, data=data, optimizer=optimizer), "example")
    spec = check(document)
    assert (spec.method.name, spec.data.source, spec.optimizer.name) == (method, data, optimizer)
    # Every field stands in it, so nothing is added by the defaults.
    assert spec.model_dump(mode="json") == TrainingSpec.model_validate(document).model_dump(
        mode="json", exclude_unset=True
    )


@pytest.mark.parametrize(("method", "data", "optimizer"), CHOICES)
def test_every_field_has_a_comment_with_its_description_and_default(method: str, data: str, optimizer: str) -> None:
    text = example(method=method, data=data, optimizer=optimizer)
    comments = commented(text)
    spec = check(parse(text, "example"))

    def walk(part: BaseModel, path: str) -> None:
        for name, field in type(part).model_fields.items():
            comment = comments[f"{path}{name}"]
            assert comment, f"{path}{name} has no comment"
            if field.description:
                assert " ".join(field.description.split()) in comment
            value = getattr(part, name)
            if isinstance(value, BaseModel):
                assert " ".join((type(value).__doc__ or "").split()) in comment
                walk(value, f"{path}{name}.")
            else:
                assert re.search(r"(required|default .+)\]$", comment), comment

    walk(spec, "")


def test_bounds_and_words_are_those_of_the_contract() -> None:
    comments = commented(example(method="looksam"))
    assert "[0 to 100; default 0.05]" in comments["method.rho"]
    assert "[0 to 100 or auto, fresh_ratio; default auto]" in comments["method.alpha"]
    assert "[none, sam, looksam, layersam, look_layersam; required]" in comments["method.name"]
    assert "[fp32, bf16, fp16, fp64; default fp32]" in comments["precision"]
    assert "[> 0 and <= 1,000; required]" in comments["optimizer.lr"]
    assert "[each >= 0 and < 1; default [0.9, 0.999]]" in comments["optimizer.betas"]


def test_a_layerwise_example_gives_the_rho_that_has_no_default() -> None:
    assert check(parse(example(method="look_layersam"), "example")).method.rho == 0.02  # type: ignore[union-attr]


def test_an_unknown_word_is_refused_with_those_there_are() -> None:
    with pytest.raises(Failure, match="--method 'lamb' must be one of none, sam, looksam") as caught:
        example(method="lamb")
    assert caught.value.exit_code is ExitCode.refused


def test_no_line_is_longer_than_a_screen() -> None:
    texts = [example(method=method, data=data, optimizer=optimizer) for method, data, optimizer in CHOICES]
    assert max(len(line) for text in texts for line in text.splitlines()) <= 120


def test_the_paths_to_set_are_all_fields_of_all_choices() -> None:
    paths = set(field_paths())
    assert {f"method.{name}" for name in LookSAM.model_fields} <= paths
    assert {f"evaluation.{name}" for name in Evaluation.model_fields} <= paths
    assert {f"data.{name}" for name in ImageFolderData.model_fields if name != "augmentation"} <= paths
    assert "data.augmentation.crop_scale" in paths
    assert not {"method", "optimizer", "data", "model"} & paths


def test_init_prints_writes_and_does_not_write_over_a_file(tmp_path: Path) -> None:
    run = CliRunner().invoke
    file = tmp_path / "spec.yaml"
    assert run(app, ["spec", "init"]).stdout == example()
    assert run(app, ["spec", "init", str(file), "--method", "sam"]).exit_code == 0
    assert file.read_text() == example(method="sam")
    again = run(app, ["spec", "init", str(file)])
    assert isinstance(again.exception, Failure)
    assert "is there already" in again.exception.sentence
    assert file.read_text() == example(method="sam")
    assert run(app, ["spec", "init", str(file), "--force"]).exit_code == 0
    assert file.read_text() == example()


def test_check_accepts_the_example_applies_set_and_prints_the_whole_spec(tmp_path: Path) -> None:
    run = CliRunner().invoke
    file = tmp_path / "spec.yaml"
    file.write_text(example())
    assert "is a valid spec: vit_tiny_patch16_224 on digits" in run(app, ["spec", "check", str(file)]).stdout
    shown = run(app, ["spec", "check", str(file), "--set", "method.k=10", "--json"])
    assert TrainingSpec.model_validate_json(shown.stdout).method.k == 10  # type: ignore[union-attr]
    refused = run(app, ["spec", "check", str(file), "--set", "method.k=0"])
    assert isinstance(refused.exception, Failure)
    assert "method.k is 0: must be >= 1" in refused.exception.sentence
