"""What the driver finds of a run's data before it takes a slot, and what it leaves to the ranks."""

from __future__ import annotations

import tarfile
from types import SimpleNamespace

import pytest
from pydantic import TypeAdapter

from tests.unit.trainer.image_folders import make_folder
from trainer import main
from trainer.contract.data import Data
from trainer.contract.ends import EndReason
from trainer.datasets import presence
from trainer.datasets.roots import DataRoots
from trainer.errors import TrainerError


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "root"
    make_folder(root / "pets", 2, 1)
    (root / "empty").mkdir()
    (root / "rows").mkdir()
    (root / "rows" / "train.parquet").write_bytes(b"PAR1 and so on PAR1")
    (root / "rows" / "test.parquet").write_bytes(b"PAR1 and cut off")
    with tarfile.open(root / "train-0.tar", "w"):
        pass
    return root


def check(root, **section):
    presence.check(TypeAdapter(Data).validate_python(section), DataRoots([str(root)]))


@pytest.mark.parametrize(
    "section",
    [
        {"source": "digits"},
        {"source": "image_folder", "train": "pets"},
        {"source": "torchvision", "name": "mnist", "path": "empty"},
        {"source": "huggingface", "path": "rows"},
        {"source": "huggingface", "name": "a/b"},
        {"source": "webdataset", "train": "train-{0..0}.tar"},
    ],
)
def test_what_looks_right_passes(root, section):
    check(root, **section)


@pytest.mark.parametrize(
    ("section", "sentence"),
    [
        ({"source": "image_folder", "train": "cats"}, r"^data.train cats is not there: looked in the data root"),
        (
            {"source": "image_folder", "train": "pets", "validation": "empty"},
            r"^empty .* holds no class folder: make one",
        ),
        (
            {"source": "image_folder", "train": "pets", "test": ".."},
            r"^data.test \.\. leads to .* outside the data root",
        ),
        ({"source": "torchvision", "name": "mnist", "path": "no"}, r"^data.path no is not there"),
        ({"source": "huggingface", "path": "rows", "validation": "val"}, r"holds no file of data.validation val"),
        ({"source": "huggingface", "path": "rows", "test": "test"}, r"rows/test.parquet is no whole Parquet file"),
        ({"source": "webdataset", "train": "train-{0..1}.tar"}, r"^data.train train-1.tar is not there"),
        ({"source": "webdataset", "train": "train-0.tar", "test": "t*-9.tar"}, r"^data.test t\*-9.tar names no file"),
    ],
)
def test_what_is_missing_or_of_the_wrong_shape_is_told(root, section, sentence):
    with pytest.raises(TrainerError, match=sentence) as caught:
        check(root, **section)
    assert caught.value.reason is EndReason.data_unreadable


def test_a_root_that_is_not_seen_from_here_is_left_to_the_ranks(root, tmp_path):
    roots = DataRoots([str(root), str(tmp_path / "on-the-training-nodes")])
    presence.check(TypeAdapter(Data).validate_python({"source": "image_folder", "train": "cats"}), roots)


def test_the_driver_ends_the_attempt_before_it_has_a_worker_group(root, small_spec, monkeypatch):
    spec = small_spec()
    spec = type(spec).model_validate(
        spec.model_dump(mode="json") | {"data": {"source": "image_folder", "train": "cats"}}
    )
    assignment = SimpleNamespace(claim=SimpleNamespace(data_roots=[str(root)]))
    monkeypatch.setitem(__import__("sys").modules, "trainer.worker_group", None)  # its import would fail
    end = main._run_group(assignment, spec, None, None)
    assert (end.rank, end.reason) == (0, EndReason.data_unreadable)
    assert end.detail.startswith("data.train cats is not there")
