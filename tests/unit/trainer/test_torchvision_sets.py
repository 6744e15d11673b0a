"""torchvision's data sets as a run sees them, from small copies in torchvision's own layout."""

from __future__ import annotations

import hashlib
import pickle
from typing import get_args

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from tests.unit.trainer.image_folders import draw, truncate
from tests.unit.trainer.opened_data import batches, pixels_of, same, whole
from trainer.contract.data import WITH_VALIDATION, TorchvisionName
from trainer.contract.ends import EndReason
from trainer.datasets import torchvision_sets
from trainer.errors import TrainerError

VIT = {
    "name": "vit_tiny_patch16_224", "image_size": 8,
    "arguments": {"patch_size": 4, "embed_dim": 16, "depth": 1, "num_heads": 2},
}  # fmt: skip
EXACT = {"augmentation": {"crop_scale": [1, 1], "horizontal_flip": 0}, "mean": [0, 0, 0], "std": [1, 1, 1]}
"""Nothing between the file's pixels and the model's but a division by 255."""


@pytest.fixture
def set_spec(small_spec, tmp_path):
    """A spec on a torchvision data set under `tmp_path`."""

    def make(name, *, side=8, loader_workers=0, data=None, **changes):
        spec = small_spec(**{"model": {**VIT, "image_size": side}, "global_batch_size": 8, **changes})
        section = {"source": "torchvision", "name": name, "path": str(tmp_path), "loader_workers": loader_workers}
        return type(spec).model_validate({**spec.model_dump(mode="json"), "data": {**section, **EXACT, **(data or {})}})

    return make


@pytest.fixture
def cifar10(tmp_path, monkeypatch):
    """30 training and 10 test images in CIFAR-10's files, of which torchvision checks the MD5 sums: (N, 32, 32, 3)."""
    kind, folder = torchvision.datasets.CIFAR10, tmp_path / "cifar-10-batches-py"
    folder.mkdir()

    def write(name, content):
        written = pickle.dumps(content)
        (folder / name).write_bytes(written)
        return [name, hashlib.md5(written).hexdigest()]

    drawn = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), dtype=np.uint8)

    def batch(name, first, last):
        rows = drawn[first:last].transpose(0, 3, 1, 2).reshape(last - first, -1)
        return write(name, {"data": rows, "labels": [i % 10 for i in range(first, last)]})

    monkeypatch.setattr(kind, "train_list", [batch("data_batch_1", 0, 20), batch("data_batch_2", 20, 30)])
    monkeypatch.setattr(kind, "test_list", [batch("test_batch", 30, 40)])
    name, md5 = write("batches.meta", {"label_names": [f"c{i}" for i in range(10)]})
    monkeypatch.setattr(kind, "meta", {"filename": name, "key": "label_names", "md5": md5})
    return drawn


@pytest.fixture
def food101(tmp_path):
    """Two classes of six training images in files."""
    folder = tmp_path / "food-101"
    for label in ("pie", "soup"):
        (folder / "images" / label).mkdir(parents=True)
        for number in range(6):
            draw(number, 16, base=190 * (label == "soup")).save(folder / "images" / label / f"{number}.jpg")
    (folder / "meta").mkdir()
    names = ", ".join(f'"{c}": [{", ".join(f"{chr(34)}{c}/{i}{chr(34)}" for i in range(6))}]' for c in ("pie", "soup"))
    (folder / "meta" / "train.json").write_text("{" + names + "}")
    return folder


class TestArrays:
    def test_pixels_and_labels_are_the_files(self, set_spec, opened, cifar10):
        loaded = opened(set_spec("cifar10", side=32))
        assert (len(loaded.train), len(loaded.validation), loaded.num_classes) == (27, 3, 10)
        seen = [whole(loaded.train), whole(loaded.validation)]
        pixels, labels = (torch.cat(parts) for parts in zip(*seen, strict=True))
        expected = {row.tobytes(): i % 10 for i, row in enumerate(cifar10[:30])}
        found = {
            np.ascontiguousarray((image * 255).round().byte().permute(1, 2, 0).numpy()).tobytes(): int(label)
            for image, label in zip(pixels, labels, strict=True)
        }
        assert found == expected

    def test_the_test_split_is_opened_when_it_is_asked_for(self, set_spec, opened, cifar10):
        assert opened(set_spec("cifar10")).test is None
        pixels, labels = whole(opened(set_spec("cifar10", side=32, data={"test": True})).test)
        assert labels.tolist() == [i % 10 for i in range(30, 40)]
        assert np.array_equal((pixels * 255).round().byte().permute(0, 2, 3, 1).numpy(), cifar10[30:])

    @pytest.mark.parametrize("loader_workers", [0, 1])
    def test_any_step_may_come_first_whoever_reads_and_on_any_number_of_ranks(
        self, set_spec, opened, cifar10, loader_workers
    ):
        moving = {"augmentation": {"horizontal_flip": 0.5}}
        one = set_spec("cifar10", data=moving)
        expected = pixels_of(opened(one), one, range(6))
        assert not torch.equal(expected[0], expected[1])
        two = set_spec("cifar10", data=moving, loader_workers=loader_workers, micro_batch_size=2)
        assert same(pixels_of(opened(two), two, [4, 5, 1], ranks=2), [expected[4], expected[5], expected[1]])

    def test_channels_are_last_whatever_torchvision_keeps(self):
        class Kept:
            data = np.arange(2 * 3 * 5 * 4, dtype=np.uint8).reshape(2, 3, 5, 4)
            labels = np.array([1, 0])

        arrays = torchvision_sets._Arrays(Kept)
        (second,) = arrays.references(np.array([1]))
        assert np.array_equal(second.values, Kept.data[1].transpose(1, 2, 0))
        assert (second.image().size, arrays.labels.tolist()) == ((4, 5), [1, 0])

    def test_grey_images_become_three_equal_channels(self):
        class Kept:
            data = torch.arange(2 * 4 * 4, dtype=torch.uint8).reshape(2, 4, 4)
            targets = torch.tensor([0, 1])

        (first,) = torchvision_sets._Arrays(Kept).references(np.array([0]))
        image = first.image()
        assert image.mode == "RGB"
        assert all(np.array_equal(channel, Kept.data[0]) for channel in image.split())


class TestFiles:
    def test_images_are_read_from_their_files(self, set_spec, opened, food101):
        loaded = opened(set_spec("food101", side=16, data={"validation_fraction": 0.5}))
        pixels, labels = whole(loaded.train)
        assert labels.tolist() == [0, 0, 0, 1, 1, 1]
        path = loaded.train._chosen.references(np.array([4]))[0].path
        assert path.startswith(str(food101 / "images" / "soup"))
        expected = torch.from_numpy(np.asarray(Image.open(path)).copy()).permute(2, 0, 1) / 255
        torch.testing.assert_close(pixels[4], expected, rtol=0, atol=1e-6)  # one division in fp32

    def test_a_damaged_file_is_named(self, set_spec, opened, food101, tmp_path):
        for image in (food101 / "images").glob("*/*.jpg"):
            truncate(image)
        spec = set_spec("food101", data={"path": "here"})
        (tmp_path / "here").symlink_to(tmp_path)
        loaded = opened(spec, roots=[str(tmp_path)])
        with pytest.raises(TrainerError, match=r"^here/food-101/images/(pie|soup)/\d.jpg \(.*\) is damaged .* anew"):
            batches(loaded, spec).at(0, 0)

    def test_a_folder_that_leads_out_of_the_roots_is_refused(self, set_spec, opened, food101, tmp_path):
        elsewhere = tmp_path / "elsewhere"
        (food101 / "images" / "pie").rename(elsewhere)
        (food101 / "images" / "pie").symlink_to(elsewhere)
        (tmp_path / "root").mkdir()
        food101.rename(tmp_path / "root" / "food-101")
        with pytest.raises(TrainerError, match="is a link out of the data root"):
            opened(set_spec("food101", data={"path": str(tmp_path / "root")}), roots=[str(tmp_path / "root")])


class TestEntries:
    def test_every_name_is_a_data_set_of_torchvision(self):
        assert set(torchvision_sets.KNOWN) == set(get_args(TorchvisionName))
        for known in torchvision_sets.KNOWN.values():
            assert issubclass(getattr(torchvision.datasets, known.kind), torchvision.datasets.VisionDataset)

    def test_those_with_a_validation_split_are_those_that_the_contract_names(self):
        assert {name for name, known in torchvision_sets.KNOWN.items() if known.validation} == WITH_VALIDATION

    def test_a_validation_split_is_used_unless_a_share_is_asked_for(self, set_spec):
        assert set_spec("dtd").data.held_out is None
        assert set_spec("dtd", data={"validation_fraction": 0.3}).data.held_out == 0.3
        assert set_spec("cifar10").data.held_out == 0.1


@pytest.mark.parametrize("name", get_args(TorchvisionName))
def test_what_is_not_there_is_told_with_the_way_to_get_it(set_spec, opened, name, monkeypatch):
    def no_traffic(*_args, **_options):
        raise AssertionError("a run that may not fetch must not try to")

    monkeypatch.setattr("urllib.request.urlopen", no_traffic)
    with pytest.raises(
        TrainerError, match=rf"holds no whole {name} .*download=True\)'` for each split, or set"
    ) as caught:
        opened(set_spec(name))
    assert caught.value.reason is EndReason.data_unreadable


def test_a_fetch_that_fails_says_so(set_spec, opened, monkeypatch):
    def no_network(*_args, **_options):
        raise OSError("no route to host")

    monkeypatch.setattr(torchvision.datasets.CIFAR10, "download", no_network)
    with pytest.raises(TrainerError, match="cifar10 could not be fetched or read: no route to host"):
        opened(set_spec("cifar10", data={"download": True}))


def test_the_folder_must_be_there(set_spec, opened, tmp_path):
    with pytest.raises(TrainerError, match="is not there: name a folder that holds the data set as torchvision keeps"):
        opened(set_spec("mnist", data={"path": str(tmp_path / "nothing")}))
