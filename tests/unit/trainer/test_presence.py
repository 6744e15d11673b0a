"""What the driver finds of a run's data before it takes a slot, and what it leaves to the ranks."""

from __future__ import annotations

import tarfile
from types import SimpleNamespace

import pytest
import torchvision
from pydantic import TypeAdapter

from tests.unit.trainer.image_folders import make_folder
from trainer import main
from trainer.contract.data import Data
from trainer.contract.ends import EndReason
from trainer.datasets import presence, torchvision_files, torchvision_sets
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
    with tarfile.open(root / "train-0.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("0.cls"))
    for name in ("none-0.tar", "none-1.tar"):
        with tarfile.open(root / name, "w"):
            pass
    (root / "bad-0.tar").write_bytes(b"")
    (root / "bad-1.tar").write_text("<html>not found</html>" * 100)
    with tarfile.open(root / "bad-2.tar", "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("0.cls"))
    make_folder(root / "hollow", 2, 1)
    (root / "hollow" / "c001" / "000.png").rename(root / "hollow" / "c001" / "000.txt")
    (root / "deep" / "cat" / "day" / "one").mkdir(parents=True)
    (root / "deep" / "cat" / "day" / "one" / "0.png").touch()
    (root / "svhn").mkdir()
    (root / "svhn" / "train_32x32.mat").touch()
    return root


def check(root, **section):
    presence.check(TypeAdapter(Data).validate_python(section), DataRoots([str(root)]))


@pytest.mark.parametrize(
    "section",
    [
        {"source": "digits"},
        {"source": "image_folder", "train": "pets"},
        {"source": "image_folder", "train": "deep"},
        {"source": "torchvision", "name": "mnist", "path": "empty", "download": True},
        {"source": "torchvision", "name": "svhn", "path": "svhn"},
        {"source": "huggingface", "path": "rows"},
        {"source": "huggingface", "name": "a/b"},
        {"source": "webdataset", "train": "train-{0..0}.tar"},
        {"source": "webdataset", "train": "{train-0,none-0}.tar"},
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
        (
            {"source": "torchvision", "name": "mnist", "path": "empty"},
            r"^data.path empty .* holds no mnist as torchvision keeps it: MNIST/raw/train-images-idx3-ubyte is not",
        ),
        ({"source": "torchvision", "name": "svhn", "path": "svhn", "test": True}, r"test_32x32.mat is not there"),
        ({"source": "image_folder", "train": "hollow"}, r"^hollow/c001 .* is a class without an image"),
        ({"source": "image_folder", "train": "pets", "test": "hollow"}, r"^hollow/c001 .* without an image"),
        ({"source": "webdataset", "train": "bad-0.tar"}, r"bad-0.tar is no whole tar file"),
        ({"source": "webdataset", "train": "train-0.tar", "validation": "bad-1.tar"}, r"bad-1.tar is no whole tar"),
        ({"source": "webdataset", "train": "bad-2.tar"}, r"bad-2.tar is no whole tar file, or a compressed one"),
        ({"source": "webdataset", "train": "none-*.tar"}, r"^data.train none-\*.tar: the 2 tar files are empty"),
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


AIRCRAFT, PETS = "fgvc-aircraft-2013b/data", "oxford-iiit-pet"
TINY_SETS = {
    "country211": {"country211/train/a/0.jpg": "", "country211/test/a/0.jpg": ""},
    "dtd": {
        "dtd/dtd/images/a/0.jpg": "", "dtd/dtd/labels/train1.txt": "a/0.jpg\n", "dtd/dtd/labels/test1.txt": "a/0.jpg\n",
    },
    "fgvc_aircraft": {
        f"{AIRCRAFT}/images/0.jpg": "", f"{AIRCRAFT}/variants.txt": "a\n",
        **{f"{AIRCRAFT}/images_variant_{split}.txt": "0 a\n" for split in ("train", "test")},
    },
    "food101": {
        "food-101/images/a/0.jpg": "", **{f"food-101/meta/{each}.json": '{"a": ["a/0"]}' for each in ("train", "test")},
    },
    "gtsrb": {
        "gtsrb/GTSRB/Training/00000/0.ppm": "", "gtsrb/GTSRB/Final_Test/Images/0.ppm": "",
        "gtsrb/GT-final_test.csv": "Filename;ClassId\n0.ppm;0\n",
    },
    "oxford_iiit_pet": {
        f"{PETS}/images/a_0.jpg": "", **{f"{PETS}/annotations/{s}.txt": "a_0 1 1 1\n" for s in ("trainval", "test")},
    },
}  # fmt: skip
"""One image a split in each set's layout; torchvision opens no image before it is asked for."""


class TestTorchvisionsFiles:
    """The names against torchvision itself, of the version that is installed."""

    @staticmethod
    def looked_for(name: str, test: bool = True) -> list[str]:
        section = {"source": "torchvision", "name": name, "path": "x", "test": test}
        return list(torchvision_files._looked_for(TypeAdapter(Data).validate_python(section)))

    def test_every_set_has_some(self):
        assert all(self.looked_for(name, test=False) for name in torchvision_sets.KNOWN)

    @pytest.mark.parametrize("name", ["cifar10", "cifar100", "stl10"])
    def test_of_batches(self, name):
        kind = getattr(torchvision.datasets, torchvision_sets.KNOWN[name].kind)
        names = [each for each, _ in kind.train_list + kind.test_list]
        names += [kind.meta["filename"]] if hasattr(kind, "meta") else []
        assert sorted(self.looked_for(name)) == sorted(f"{kind.base_folder}/{each}" for each in names)

    @pytest.mark.parametrize("name", ["svhn", "usps"])
    def test_of_a_file_a_split(self, name):
        kind = getattr(torchvision.datasets, torchvision_sets.KNOWN[name].kind)
        assert self.looked_for(name) == [kind.split_list["train"][1], kind.split_list["test"][1]]
        assert self.looked_for(name, test=False) == [kind.split_list["train"][1]]

    @pytest.mark.parametrize("name", ["mnist", "kmnist", "fashion_mnist"])
    def test_of_the_digits_kin(self, name):
        kind = torchvision_sets.KNOWN[name].kind
        resources = getattr(torchvision.datasets, kind).resources
        expected = [f"{kind}/raw/{file.removesuffix('.gz')}" for file, _ in resources]
        assert sorted(self.looked_for(name)) == sorted(expected)

    def test_of_the_flowers(self):
        names = [torchvision.datasets.Flowers102._file_dict[each][0] for each in ("label", "setid")]
        assert self.looked_for("flowers102") == ["flowers-102/jpg", *(f"flowers-102/{name}" for name in names)]

    @pytest.mark.parametrize("name", TINY_SETS)
    def test_what_torchvision_opens_is_not_refused_and_without_any_of_them_it_is(self, tmp_path, name):
        for below, content in TINY_SETS[name].items():
            (tmp_path / below).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / below).write_text(content)
        known = torchvision_sets.KNOWN[name]
        for split in (known.train, known.test):
            assert len(getattr(torchvision.datasets, known.kind)(str(tmp_path), download=False, **split)) == 1
        section = {"source": "torchvision", "name": name, "path": str(tmp_path), "test": True}
        check(tmp_path, **section)
        for below in self.looked_for(name):
            (tmp_path / below).rename(tmp_path / "aside")
            with pytest.raises(TrainerError, match=f"{below} is not there"):
                check(tmp_path, **section)
            (tmp_path / "aside").rename(tmp_path / below)

    def test_the_layout_of_old_versions_is_taken(self, root):
        (root / "empty" / "MNIST" / "processed").mkdir(parents=True)
        for name in ("training.pt", "test.pt"):
            with pytest.raises(TrainerError, match="is not there"):
                check(root, source="torchvision", name="mnist", path="empty")
            (root / "empty" / "MNIST" / "processed" / name).touch()
        check(root, source="torchvision", name="mnist", path="empty")


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
