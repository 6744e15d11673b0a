"""webdataset's tar files as a run sees them: samples as webdataset groups them, read by their place."""

from __future__ import annotations

import io
import json
import tarfile

import pytest
import torch

from tests.unit.trainer.image_folders import draw
from tests.unit.trainer.opened_data import as_floats, batches, encoded, pixels_of, same, whole
from trainer.contract.ends import EndReason
from trainer.datasets.roots import DataRoots
from trainer.datasets.shard_names import shards
from trainer.errors import TrainerError

VIT = {
    "name": "vit_tiny_patch16_224", "image_size": 8,
    "arguments": {"patch_size": 4, "embed_dim": 16, "depth": 1, "num_heads": 2},
}  # fmt: skip
EXACT = {"augmentation": {"crop_scale": [1, 1], "horizontal_flip": 0}, "mean": [0, 0, 0], "std": [1, 1, 1]}
"""Nothing between the file's pixels and the model's but a division by 255."""


def write(file, members):
    """(name, content) in a tar file, in this order."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, "w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return file


def sample(name, image, label):
    return [(f"{name}.png", encoded(image)), (f"{name}.cls", str(label).encode())]


@pytest.fixture
def shard_spec(small_spec, tmp_path):
    """A spec on `tmp_path`/train-{0..2}.tar."""

    def make(data=None, loader_workers=0, **changes):
        spec = small_spec(**{"model": VIT, "global_batch_size": 8, **changes})
        section = {"source": "webdataset", "train": f"{tmp_path}/train-{{0..2}}.tar", "loader_workers": loader_workers}
        return type(spec).model_validate({**spec.model_dump(mode="json"), "data": {**section, **EXACT, **(data or {})}})

    return make


@pytest.fixture
def tars(tmp_path):
    """24 samples of three classes in three shards."""
    images = [draw(i, 8, base=60 * (i % 3)) for i in range(24)]
    for shard in range(3):
        members = [m for i in range(8 * shard, 8 * shard + 8) for m in sample(f"{i:04d}", images[i], i % 3)]
        write(tmp_path / f"train-{shard}.tar", members)
    return images


class TestSamples:
    @pytest.mark.parametrize("loader_workers", [0, 1])
    def test_pixels_and_labels_are_the_members_in_their_order(self, shard_spec, opened, tars, tmp_path, loader_workers):
        write(tmp_path / "validation.tar", sample("a", draw(99), 2))
        loaded = opened(
            shard_spec({"validation": f"{tmp_path}/validation.tar", "test": f"{tmp_path}/*n.tar"}, loader_workers)
        )
        assert (len(loaded.train), len(loaded.validation), loaded.num_classes) == (24, 1, 3)
        pixels, labels = whole(loaded.train)
        assert labels.tolist() == [i % 3 for i in range(24)]
        for image, original in zip(pixels, tars, strict=True):
            torch.testing.assert_close(image, as_floats(original), rtol=0, atol=1e-6)  # a division in fp32
        assert whole(loaded.validation)[1].tolist() == whole(loaded.test)[1].tolist() == [2]

    def test_any_step_may_come_first_whoever_reads_and_on_any_number_of_ranks(self, shard_spec, opened, tars):
        moving = {"augmentation": {"horizontal_flip": 0.5}}
        one = shard_spec(moving)
        expected = pixels_of(opened(one), one, range(6))
        assert not torch.equal(expected[0], expected[1])
        two = shard_spec(moving, loader_workers=1, micro_batch_size=2)
        assert same(pixels_of(opened(two), two, [4, 5, 1], ranks=2), [expected[4], expected[5], expected[1]])

    def test_members_make_samples_as_in_webdataset(self, shard_spec, opened, tmp_path):
        """Name up to the first dot of the file's name, folder included; extensions in any case; other members aside."""
        picture = encoded(draw(0))
        write(tmp_path / "x.tar", [
            ("README", b"no sample"), ("a.d/1.PNG", picture), ("a.d/1.json", b'{"what": "owl"}'),
            ("a.d/1.seg.png", b"mask"),
            ("b.d/1.json", b'{"what": "ant"}'), ("b.d/1.png", picture), ("b.d/2.txt", b"no image"),
        ])  # fmt: skip
        loaded = opened(
            shard_spec({"train": f"{tmp_path}/x.tar", "validation": f"{tmp_path}/x.tar", "label_key": "what"})
        )
        assert whole(loaded.train)[1].tolist() == [1, 0]

    def test_an_index_is_as_long_as_the_images_and_no_longer(self, shard_spec, opened, tars):
        """Only headers and labels are read at the start: the pictures' bytes may be anything until they are needed."""
        loaded = opened(shard_spec())
        (reference,) = loaded.train._chosen.references(torch.tensor([0]).numpy())
        assert reference.num_bytes == len(encoded(tars[int(loaded.train._chosen.indices[0])]))


@pytest.mark.parametrize("cut", [5, 8])
def test_a_run_that_goes_on_in_the_middle_of_an_epoch_ends_with_the_same_weights(shard_spec, run, tars, cut):
    spec = shard_spec({"augmentation": {"auto_augment": "rand-m9-n2"}}, steps=10, checkpoint={"every_steps": cut})
    whole_run = run(spec)
    cut_off = next(p for p in (whole_run.folder / "checkpoints").iterdir() if str(cut) in p.name)
    rest = run(spec, resume=[cut_off])
    assert min(rest.recorder.steps) == cut
    assert all(torch.equal(value, rest.weights[name]) for name, value in whole_run.weights.items())


class TestNames:
    def test_braces_and_wildcards(self, tmp_path):
        for name in ("a-00.tar", "a-01.tar", "b-00.tar", "c.tar"):
            (tmp_path / name).write_bytes(b"")
        roots = DataRoots([str(tmp_path / "empty"), str(tmp_path)])
        (tmp_path / "empty").mkdir()

        def names(pattern):
            return [path.removeprefix(f"{tmp_path}/") for path in shards("data.train", pattern, roots)]

        assert names("a-{00..01}.tar") == ["a-00.tar", "a-01.tar"]
        assert names("{b,a}-00.tar") == ["b-00.tar", "a-00.tar"]
        assert names("a-*.tar") == ["a-00.tar", "a-01.tar"]
        assert names("{c,[ab]-00}.tar") == ["c.tar", "a-00.tar", "b-00.tar"]
        assert names(f"{tmp_path}/?.tar") == ["c.tar"]

    @pytest.mark.parametrize(
        ("pattern", "sentence"),
        [
            ("a-{00..02}.tar", r"data.train a-02.tar is not there"),
            ("z-*.tar", "names no file"),
            ("a-{00.tar", r"Unbalanced braces: .* Close each brace"),
            ("a-{0..999999999}.tar", "names more than 100000 files"),
            ("{0..999}{0..999}.tar", "names more than 100000 files"),
            ("../*/a-00.tar", "outside the data root"),
            ("{..,.}/{..,.}/a-00.tar", "outside the data root|is not there"),
        ],
    )
    def test_what_cannot_be_is_told(self, tmp_path, pattern, sentence):
        root = tmp_path / "root"
        for folder in (root, tmp_path / "beside"):
            folder.mkdir()
            for name in ("a-00.tar", "a-01.tar"):
                (folder / name).write_bytes(b"")
        with pytest.raises(TrainerError, match=sentence) as caught:
            shards("data.train", pattern, DataRoots([str(root)]))
        assert caught.value.reason is EndReason.data_unreadable

    def test_a_link_out_of_the_roots_is_refused(self, tmp_path):
        (tmp_path / "root").mkdir()
        (tmp_path / "a.tar").write_bytes(b"")
        (tmp_path / "root" / "a.tar").symlink_to(tmp_path / "a.tar")
        for pattern in ("a.tar", "*.tar"):
            with pytest.raises(TrainerError, match=r"leads to .*, outside the data root"):
                shards("data.train", pattern, DataRoots([str(tmp_path / "root")]))


class TestErrors:
    @pytest.mark.parametrize("loader_workers", [0, 1])
    def test_a_damaged_image_is_named(self, shard_spec, opened, tmp_path, loader_workers):
        members = [m for i in range(24) for m in sample(f"{i:04d}", draw(i), i % 2)]
        members = [(name, content[:50] if name.endswith(".png") else content) for name, content in members]
        write(tmp_path / "x.tar", members)
        spec = shard_spec({"train": f"{tmp_path}/x.tar"}, loader_workers)
        with pytest.raises(TrainerError, match=rf"^{tmp_path}/x.tar: 00\d\d.png is damaged .* Write the tar file anew"):
            batches(opened(spec), spec).at(0, 0)

    @pytest.mark.parametrize(
        ("members", "sentence"),
        [
            ([("a.png", b"")], r"a.png has no label. A sample is NAME.jpg"),
            ([("a.png", b""), ("a.cls", b"cat")], r"its .cls holds b'cat', must be a whole number"),
            ([("a.png", b""), ("a.json", b"{")], r"its .json is damaged"),
            (
                [("a.png", b""), ("a.json", json.dumps({"class": 1}).encode())],
                r"no label under 'label'.*data.label_key",
            ),
            ([("a.png", b""), ("a.cls", b"1"), ("b.png", b""), ("b.json", b'{"label": "x"}')], "Take one kind"),
            ([("a.png", b""), ("a.cls", b"-1")], r"the labels make 0 classes"),
            (
                [("a.png", b""), ("a.cls", b"-1"), ("b.png", b""), ("b.cls", b"1")],
                r"a.png has the label -1, must be 0 to 1",
            ),
            ([("a.txt", b"")], "no sample with an image in 1 tar files"),
        ],
    )
    def test_what_no_run_can_use_is_told_before_it_trains(self, shard_spec, opened, tmp_path, members, sentence):
        write(tmp_path / "x.tar", members)
        with pytest.raises(TrainerError, match=sentence) as caught:
            opened(shard_spec({"train": f"{tmp_path}/x.tar"}))
        assert caught.value.reason is EndReason.data_unreadable

    @pytest.mark.parametrize("kept", [100, 700, 9000, 8 * 512])
    def test_a_tar_file_that_is_cut_off_is_told(self, shard_spec, opened, tars, tmp_path, kept):
        file = tmp_path / "train-1.tar"
        file.write_bytes(file.read_bytes()[:kept])
        with pytest.raises(TrainerError, match=r"train-1.tar is no whole tar file, or a compressed one"):
            opened(shard_spec())

    def test_a_compressed_tar_file_is_told(self, shard_spec, opened, tmp_path):
        with tarfile.open(tmp_path / "x.tar", "w:gz"):
            pass
        with pytest.raises(TrainerError, match=r"x.tar is no whole tar file, or a compressed one"):
            opened(shard_spec({"train": f"{tmp_path}/x.tar"}))
