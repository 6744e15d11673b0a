"""Hugging Face data sets as a run sees them: Parquet folders that the test writes, and the cache of the hub."""

from __future__ import annotations

import shutil
from pathlib import Path

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from tests.unit.trainer.image_folders import draw
from tests.unit.trainer.opened_data import as_floats, batches, encoded, pixels_of, same, whole
from trainer.contract.ends import EndReason
from trainer.errors import TrainerError

VIT = {
    "name": "vit_tiny_patch16_224", "image_size": 8,
    "arguments": {"patch_size": 4, "embed_dim": 16, "depth": 1, "num_heads": 2},
}  # fmt: skip
EXACT = {"augmentation": {"crop_scale": [1, 1], "horizontal_flip": 0}, "mean": [0, 0, 0], "std": [1, 1, 1]}
"""Nothing between the file's pixels and the model's but a division by 255."""


@pytest.fixture(autouse=True)
def _a_cache_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture(autouse=True)
def _no_traffic(monkeypatch):
    def refuse(*_args, **_options):
        raise AssertionError("a run that may not fetch must not try to")

    monkeypatch.setattr("huggingface_hub.HfApi.hf_hub_download", refuse)
    monkeypatch.setattr("huggingface_hub.HfApi.dataset_info", refuse)


@pytest.fixture
def rows_spec(small_spec, tmp_path):
    """A spec on the Parquet files of `tmp_path`/rows."""

    def make(data=None, loader_workers=0, **changes):
        spec = small_spec(**{"model": VIT, "global_batch_size": 8, **changes})
        section = {"source": "huggingface", "path": str(tmp_path / "rows"), "loader_workers": loader_workers}
        return type(spec).model_validate({**spec.model_dump(mode="json"), "data": {**section, **EXACT, **(data or {})}})

    return make


def write(file, images, labels, *, image_column="image", label_column="label", plain=False):
    """Images as the hub's pairs, or `plain` bytes; small row groups, so that there are several."""
    cells = [encoded(image) if not isinstance(image, bytes) else image for image in images]
    cells = cells if plain else [{"bytes": cell, "path": f"{i}.png"} for i, cell in enumerate(cells)]
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({image_column: cells, label_column: labels}), file, row_group_size=3)
    return file


@pytest.fixture
def rows(tmp_path):
    """24 training rows in two files, 4 validation and 4 test rows, of three classes."""
    images = [draw(i, 8, base=60 * (i % 3)) for i in range(32)]
    labels = [i % 3 for i in range(32)]
    write(tmp_path / "rows" / "train-00000-of-00002.parquet", images[:14], labels[:14])
    write(tmp_path / "rows" / "train-00001-of-00002.parquet", images[14:24], labels[14:24])
    write(tmp_path / "rows" / "validation.parquet", images[24:28], labels[24:28])
    write(tmp_path / "rows" / "test.parquet", images[28:], labels[28:])
    return images


class TestRows:
    @pytest.mark.parametrize("loader_workers", [0, 1])
    def test_pixels_and_labels_are_the_files_in_their_order(self, rows_spec, opened, rows, loader_workers):
        loaded = opened(rows_spec({"validation": "validation", "test": "test"}, loader_workers))
        assert (len(loaded.train), len(loaded.validation), loaded.num_classes) == (24, 4, 3)
        for images, first in ((loaded.train, 0), (loaded.validation, 24), (loaded.test, 28)):
            pixels, labels = whole(images)
            assert labels.tolist() == [i % 3 for i in range(first, first + len(images))]
            for i, image in enumerate(pixels):
                torch.testing.assert_close(image, as_floats(rows[first + i]), rtol=0, atol=1e-6)  # a division in fp32

    def test_any_step_may_come_first_whoever_reads_and_on_any_number_of_ranks(self, rows_spec, opened, rows):
        moving = {"augmentation": {"horizontal_flip": 0.5}}
        one = rows_spec(moving)
        expected = pixels_of(opened(one), one, range(6))
        assert not torch.equal(expected[0], expected[1])
        two = rows_spec(moving, loader_workers=1, micro_batch_size=2)
        assert same(pixels_of(opened(two), two, [4, 5, 1], ranks=2), [expected[4], expected[5], expected[1]])

    def test_a_share_is_held_out_without_a_validation_split(self, rows_spec, opened, rows):
        loaded = opened(rows_spec({"validation_fraction": 0.25}))
        assert (len(loaded.train), len(loaded.validation)) == (18, 6)
        assert sorted(whole(loaded.validation)[1].tolist()) == [0, 0, 1, 1, 2, 2]

    def test_a_folder_per_split_plain_bytes_and_class_names(self, rows_spec, opened, tmp_path):
        names = ["owl", "ant", "cat"]
        labels = [names[i % 3] for i in range(12)]
        write(tmp_path / "rows" / "train" / "0000.parquet", [draw(i) for i in range(12)], labels, plain=True,
              image_column="photo", label_column="what")  # fmt: skip
        loaded = opened(rows_spec({"image_column": "photo", "label_column": "what", "validation_fraction": 0.25}))
        pixels, labels = whole(loaded.train)
        assert loaded.num_classes == 3
        assert len(pixels) == 9
        assert sorted(labels.tolist()) == [0, 0, 0, 1, 1, 1, 2, 2, 2]
        first = loaded.train._chosen.indices[0]
        assert labels[0] == sorted(names).index(names[first % 3])

    def test_classes_that_the_files_name_are_counted_though_no_image_has_them(self, rows_spec, opened, tmp_path):
        features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=list("abcde"))})
        table = {"image": [draw(i) for i in range(12)], "label": [i % 3 for i in range(12)]}
        (tmp_path / "rows").mkdir()
        datasets.Dataset.from_dict(table, features=features).to_parquet(tmp_path / "rows" / "train.parquet")
        assert opened(rows_spec()).num_classes == 5


class TestErrors:
    @pytest.mark.parametrize("loader_workers", [0, 1])
    def test_a_damaged_row_is_named(self, rows_spec, opened, tmp_path, loader_workers):
        images = [draw(i) for i in range(24)]
        images[17] = encoded(images[17])[:60]
        write(tmp_path / "rows" / "train.parquet", images, [i % 3 for i in range(24)])
        spec = rows_spec({"path": "rows", "validation_fraction": 0.1}, loader_workers)
        loaded = opened(spec, roots=[str(tmp_path)])
        holding = loaded.validation if 17 in loaded.validation._chosen.indices else loaded.train
        with pytest.raises(TrainerError, match=r"^Split train of rows: row 17 is damaged .* Replace or") as caught:
            whole(holding)
        assert caught.value.reason is EndReason.data_unreadable

    def test_a_row_with_a_path_alone_is_not_followed(self, rows_spec, opened, tmp_path):
        there = tmp_path / "secret.png"
        draw(0).save(there)
        file = tmp_path / "rows" / "train.parquet"
        file.parent.mkdir()
        pairs = pa.array(
            [{"bytes": None, "path": str(there)}] * 12, pa.struct({"bytes": pa.binary(), "path": pa.string()})
        )
        pq.write_table(pa.table({"image": pairs, "label": [0, 1] * 6}), file)
        spec = rows_spec()
        with pytest.raises(TrainerError, match=r"row [0-9]+ holds no bytes of an image"):
            batches(opened(spec), spec).at(0, 0)

    @pytest.mark.parametrize(
        ("section", "sentence"),
        [
            ({"train": "extra"}, r"holds no file of data.train extra: .* It holds test.parquet, train-00000"),
            ({"validation": "val"}, r"holds no file of data.validation val: a split is val.parquet, val-00000"),
            ({"image_column": "img"}, r"has no column img, only image, label: set `data.image_column`"),
            ({"label_column": "fine"}, r"has no column fine, only image, label: set `data.label_column`"),
            ({"label_column": "image"}, r"column image holds struct.*, must be whole numbers or class names"),
            ({"path": "/nowhere"}, r"is not there: name a folder that holds Parquet files, such as train.parquet"),
        ],
    )
    def test_what_is_not_there_is_told_with_what_is(self, rows_spec, opened, rows, section, sentence):
        with pytest.raises(TrainerError, match=sentence) as caught:
            opened(rows_spec(section))
        assert caught.value.reason is EndReason.data_unreadable

    def test_a_file_that_is_no_parquet_is_told(self, rows_spec, opened, tmp_path):
        (tmp_path / "rows").mkdir()
        (tmp_path / "rows" / "train.parquet").write_bytes(b"PAR1" * 100)
        with pytest.raises(TrainerError, match=r"could not be opened as Parquet: "):
            opened(rows_spec())

    def test_labels_that_training_lacks_or_that_are_missing_are_told(self, rows_spec, opened, rows, tmp_path):
        write(tmp_path / "rows" / "val.parquet", [draw(0), draw(1)], [1, 7])
        with pytest.raises(TrainerError, match=r"row 1 has the label 7, must be 0 to 2 \(1 such images\)"):
            opened(rows_spec({"validation": "val"}))
        write(tmp_path / "rows" / "none.parquet", [draw(0), draw(1)], [1, None])
        with pytest.raises(TrainerError, match=r"Split none of .* has 1 rows without a label"):
            opened(rows_spec({"validation": "none"}))

    def test_a_file_that_leads_out_of_the_roots_is_refused(self, rows_spec, opened, rows, tmp_path):
        elsewhere = write(tmp_path / "elsewhere" / "more.parquet", [draw(0)], [0])
        (tmp_path / "rows" / "more.parquet").symlink_to(elsewhere)
        opened(rows_spec(), roots=[str(tmp_path / "rows")])
        with pytest.raises(TrainerError, match=r"more.parquet is a link out of the data root"):
            opened(rows_spec({"validation": "more"}), roots=[str(tmp_path / "rows")])


class TestHub:
    def test_without_leave_to_fetch_the_cache_alone_is_asked(self, rows_spec, opened):
        with pytest.raises(TrainerError, match=r'data.name a/b is not in this machine.*datasets.load_dataset\("a/b"\)'):
            opened(rows_spec({"path": None, "name": "a/b"}))
        assert not datasets.config.HF_HUB_OFFLINE

    def test_with_leave_the_hub_is_asked(self, rows_spec, opened, monkeypatch):
        asked = []

        def fetch(self, repo_id, **_options):
            asked.append(repo_id)
            raise OSError("no route to host")

        monkeypatch.setattr("huggingface_hub.HfApi.hf_hub_download", fetch)
        with pytest.raises(TrainerError, match=r"data.name a/b could not be fetched: "):
            opened(rows_spec({"path": None, "name": "a/b", "download": True}))
        assert asked == ["a/b"]

    def test_what_is_in_the_cache_is_used_without_traffic(self, rows_spec, opened, rows, tmp_path):
        files = {"train": [str(f) for f in sorted((tmp_path / "rows").glob("train-*"))]}
        prepared = datasets.load_dataset("parquet", data_files=files)
        (file,) = {Path(each["filename"]) for each in prepared.cache_files["train"]}
        commit = "0123456789abcdef0123456789abcdef01234567"
        kept = tmp_path / "cache" / "owner___pets" / "default" / "0.0.0" / commit  # as `datasets` keeps owner/pets
        shutil.copytree(file.parent, kept)
        (kept / file.name).rename(kept / file.name.replace("parquet-", "pets-", 1))
        for revision in (None, commit):
            loaded = opened(rows_spec({"path": None, "name": "owner/pets", "revision": revision}))
            assert len(loaded.train) + len(loaded.validation) == 24
        with pytest.raises(TrainerError, match=f"holds commit {commit}, not `data.revision` main"):
            opened(rows_spec({"path": None, "name": "owner/pets", "revision": "main"}))

    def test_a_folder_of_that_name_here_is_not_taken_for_the_hub(self, rows_spec, opened, rows, tmp_path, monkeypatch):
        (tmp_path / "rows").rename(tmp_path / "b")
        monkeypatch.chdir(tmp_path.parent)
        with pytest.raises(TrainerError, match="is not in this machine"):
            opened(rows_spec({"path": None, "name": f"{tmp_path.name}/b"}))


def test_labels_read_the_same_whatever_their_width(rows_spec, opened, tmp_path):
    labels = pa.array(np.arange(12) % 2, type=pa.uint8())
    write(tmp_path / "rows" / "train.parquet", [draw(i) for i in range(12)], labels)
    assert opened(rows_spec()).num_classes == 2
