"""Which files of a folder are images of which class, and which links lead where."""

from __future__ import annotations

import os

import numpy as np
import pytest
from torchvision.datasets import ImageFolder
from torchvision.datasets.folder import IMG_EXTENSIONS

from tests.unit.trainer.image_folders import draw, make_folder
from trainer.contract.ends import EndReason
from trainer.datasets.folder_files import EXTENSIONS, FolderFiles, scan
from trainer.datasets.roots import DataRoots
from trainer.errors import TrainerError

ANYWHERE = DataRoots(None)


def found(folder, written=None, roots=ANYWHERE) -> FolderFiles:
    return scan(str(folder), written or str(folder), roots)


def refused(folder, pattern, written=None, roots=ANYWHERE):
    with pytest.raises(TrainerError, match=pattern) as caught:
        found(folder, written, roots)
    assert caught.value.reason is EndReason.data_unreadable
    assert "\n" not in caught.value.detail


class TestScan:
    def test_finds_what_torchvision_finds(self, tmp_path):
        folder = make_folder(tmp_path / "f", 3, 4)
        (folder / "c001" / "deeper" / "still").mkdir(parents=True)
        draw(1).save(folder / "c001" / "deeper" / "still" / "x.JPG", format="JPEG")
        draw(2).save(folder / "c001" / "zwölf 12.webp")
        (folder / "c002" / "notes.txt").write_text("no image")
        (folder / "readme.txt").write_text("no class")
        files, theirs = found(folder), ImageFolder(str(folder))
        assert files.classes == theirs.classes
        ours = [(files.paths(np.array([i]), files.labels[[i]])[0], int(files.labels[i])) for i in range(len(files))]
        assert sorted(ours) == sorted(theirs.samples)
        assert [files.below(i) for i in range(len(files))] == [os.path.relpath(path, folder) for path, _ in ours]
        assert files.ignored == 2
        assert EXTENSIONS == IMG_EXTENSIONS

    def test_hidden_files_and_folders_are_passed_over(self, tmp_path):
        folder = make_folder(tmp_path / "f", 2, 1)
        draw(1).save(folder / "c000" / ".hidden.png")
        (folder / ".git").mkdir()
        (folder / "c000" / ".thumbs").mkdir()
        files = found(folder)
        assert (files.classes, len(files), files.ignored) == (["c000", "c001"], 2, 3)

    def test_the_fingerprint_is_of_names_and_their_order(self, tmp_path):
        a, b = (make_folder(tmp_path / name, 3, 4, seed=seed) for name, seed in (("a", 0), ("b", 1)))
        assert found(a).fingerprint() == found(b).fingerprint()
        os.rename(b / "c000" / "000.png", b / "c000" / "9.png")
        assert found(a).fingerprint() != found(b).fingerprint()
        assert 0 <= found(a).fingerprint() < 2**63

    def test_names_that_are_no_text_are_found_and_can_be_shown(self, tmp_path):
        folder = make_folder(tmp_path / "f", 1, 1)
        os.rename(folder / "c000" / "000.png", os.fsencode(folder / "c000") + b"/\xff\n.png")
        files = found(folder)
        assert os.path.exists(files.paths(np.array([0]), np.array([0]))[0])
        assert files.shown(0).endswith("c000/\\xff\\n.png")

    def test_an_empty_class_is_named_with_what_to_do(self, tmp_path):
        folder = make_folder(tmp_path / "f", 2, 1)
        (folder / "empty").mkdir()
        (folder / "empty" / "notes.txt").touch()
        refused(folder, rf"^pets/empty \({folder}/empty\) is a class without an image: remove", written="pets")

    def test_a_folder_without_classes_is_named(self, tmp_path):
        refused(tmp_path, f"^{tmp_path} holds no class folder: make one folder per class")
        draw(0).save(tmp_path / "a.png")
        refused(tmp_path, "holds no class folder; its 1 images lie beside each other")

    def test_a_pipe_with_an_images_name_is_refused_and_not_opened(self, tmp_path):
        folder = make_folder(tmp_path / "f", 1, 1)
        os.mkfifo(folder / "c000" / "x.png")
        refused(folder, "c000/x.png has the name of an image and is no file")


class TestLinks:
    @pytest.fixture
    def root(self, tmp_path):
        make_folder(tmp_path / "root" / "pets", 2, 2)
        make_folder(tmp_path / "elsewhere", 1, 1)
        return tmp_path / "root"

    def test_links_that_stay_inside_are_followed(self, root):
        os.symlink(root / "pets" / "c000" / "000.png", root / "pets" / "c001" / "link.png")
        os.symlink("c000", root / "pets" / "c002")
        files = found(root / "pets", roots=DataRoots([str(root)]))
        assert files.classes == ["c000", "c001", "c002"]
        assert files.counts.tolist() == [2, 3, 2]

    @pytest.mark.parametrize("place", ["pets/c001/link.png", "pets/c001/sub", "pets/c009"])
    def test_links_out_of_the_roots_are_named_with_the_roots(self, root, place):
        target = root.parent / "elsewhere" / "c000"
        os.symlink(target / "000.png" if place.endswith("png") else target, root / place)
        refused(root / "pets", f"{place} .*is a link to {target}.*outside the data root {root}: copy", "pets",
                DataRoots([str(root)]))  # fmt: skip
        assert len(found(root / "pets")) >= 4  # without the service anything goes

    def test_a_link_by_a_detour_is_seen_through(self, root):
        os.symlink(root.parent / "elsewhere", root / "detour")
        os.symlink("../../detour/c000/000.png", root / "pets" / "c001" / "x.png")
        refused(root / "pets", "c001/x.png .* is a link to .*elsewhere", "pets", DataRoots([str(root)]))

    def test_a_link_to_nothing_and_one_in_a_circle_are_named(self, root):
        os.symlink("nothing.png", root / "pets" / "c001" / "x.png")
        refused(root / "pets", "c001/x.png is a link to nothing")
        os.remove(root / "pets" / "c001" / "x.png")
        (root / "pets" / "c001" / "a").mkdir()
        os.symlink("../../c000", root / "pets" / "c001" / "a" / "b")
        os.symlink("../c001", root / "pets" / "c000" / "c")
        refused(root / "pets", "is a link that leads in a circle")


class TestRoots:
    def test_relative_paths_are_looked_up_in_the_roots_in_turn(self, tmp_path):
        for name in ("one/a", "two/a", "two/b"):
            (tmp_path / name).mkdir(parents=True)
        roots = DataRoots([str(tmp_path / "one"), str(tmp_path / "two")])
        assert roots.find("data.train", "a") == str(tmp_path / "one" / "a")
        assert roots.find("data.train", "b") == str(tmp_path / "two" / "b")
        assert roots.find("data.train", str(tmp_path / "two" / "a")) == str(tmp_path / "two" / "a")

    @pytest.mark.parametrize("written", ["../out", "a/../../out", "link", "/", "{}/out", "{}/root/../out", "{}/root2"])
    def test_nothing_outside_is_found(self, tmp_path, written):
        for name in ("root/a", "out", "root2"):
            (tmp_path / name).mkdir(parents=True)
        os.symlink("../out", tmp_path / "root" / "link")
        with pytest.raises(TrainerError, match=r"data.train .*outside the data root .*BASIN_DATA_ROOTS"):
            DataRoots([str(tmp_path / "root")]).find("data.train", written.format(tmp_path))

    def test_what_is_missing_or_a_file_is_named_with_where_it_was_looked_for(self, tmp_path):
        (tmp_path / "file").touch()
        roots = DataRoots([str(tmp_path), "/nowhere"])
        with pytest.raises(
            TrainerError, match=f"data.train gone is not there: looked in the data roots {tmp_path}, /no"
        ):
            roots.find("data.train", "gone")
        with pytest.raises(TrainerError, match=r"data.validation file .* is a file: name a folder"):
            roots.find("data.validation", "file")
        with pytest.raises(TrainerError, match=r"no data root is configured. Set BASIN_DATA_ROOTS"):
            DataRoots([]).find("data.train", "a")

    def test_a_root_that_is_a_link_itself_holds_what_it_leads_to(self, tmp_path):
        make_folder(tmp_path / "disk" / "pets", 1, 1)
        os.symlink(tmp_path / "disk", tmp_path / "root")
        roots = DataRoots([str(tmp_path / "root")])
        assert len(found(roots.find("data.train", "pets"), roots=roots)) == 1
        assert DataRoots(["/"]).holds(str(tmp_path))
