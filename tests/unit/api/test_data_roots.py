"""Which image folders are refused at submit: by their words always, by their links where the root is seen."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from api.runs.data_roots import folder_problems
from trainer.contract.data import DigitsData, HuggingFaceData, ImageFolderData, TorchvisionData, WebDatasetData


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "pets" / "train" / "cat").mkdir(parents=True)
    (root / "file").write_text("x")
    (tmp_path / "outside").mkdir()
    return root


def refusal(path: str, *roots: Path) -> str | None:
    """What is told of `path` as training folder; null: it is taken."""
    problems = folder_problems(ImageFolderData(source="image_folder", train=path), roots)
    if not problems:
        return None
    [problem] = problems
    assert problem.path == "spec.data.train"
    assert problem.value == path[:120]
    assert problem.remedy
    return problem.allowed


def test_digits_need_no_root() -> None:
    assert folder_problems(DigitsData(), []) == []


def test_without_a_root_no_folder_may_be_read(root: Path) -> None:
    [problem] = folder_problems(ImageFolderData(source="image_folder", train=str(root)), [])
    assert "no data root is configured" in problem.allowed
    assert "BASIN_DATA_ROOTS" in problem.remedy


def test_each_folder_is_told_by_its_field(root: Path) -> None:
    data = ImageFolderData(source="image_folder", train="nothing", validation="/etc")
    problems = folder_problems(data, [root])
    assert [problem.path for problem in problems] == ["spec.data.train", "spec.data.validation"]
    assert all(str(root) in problem.allowed for problem in problems)


def test_every_source_is_told_by_its_own_fields(root: Path) -> None:
    sections = [
        (TorchvisionData(source="torchvision", name="mnist", path="/etc"), ["spec.data.path"]),
        (TorchvisionData(source="torchvision", name="mnist", path="pets"), []),
        (HuggingFaceData(source="huggingface", path="../x"), ["spec.data.path"]),
        (HuggingFaceData(source="huggingface", name="a/b"), []),
        (WebDatasetData(source="webdataset", train="pets/t-{0..3}.tar", test="cats/t-*.tar"), ["spec.data.test"]),
        (WebDatasetData(source="webdataset", train="t-*.tar", validation="/{etc,x}/a.tar"), ["spec.data.validation"]),
        (ImageFolderData(source="image_folder", train="pets/train", test="pets/test"), ["spec.data.test"]),
    ]
    for data, paths in sections:
        assert [problem.path for problem in folder_problems(data, [root])] == paths, data


def test_folders_under_a_root_are_taken(root: Path) -> None:
    for path in ("pets/train", "pets/./train", str(root), str(root / "pets/train"), f"{root}//pets/train/"):
        assert refusal(path, root) is None, path


@pytest.mark.parametrize(
    "path", ["..", "../outside", "pets/../../outside", "pets/..", "{root}/../outside", "{root}/pets/.."]
)
def test_dots_are_refused_wherever_they_lead(root: Path, path: str) -> None:
    assert refusal(path.format(root=root), root) == "must not contain `..`"


@pytest.mark.parametrize("path", ["/etc", "/", "{root}er", "{root}-2/x", "{parent}/outside"])
def test_what_lies_elsewhere_is_refused_whether_it_is_there_or_not(root: Path, path: str) -> None:
    assert refusal(path.format(root=root, parent=root.parent), root) == f"must lie under the data root {root}"


def test_a_link_out_is_refused_without_saying_where_it_leads(root: Path, tmp_path: Path) -> None:
    (root / "way-out").symlink_to(tmp_path / "outside")
    (root / "pets" / "deep").symlink_to("../way-out")
    for path in ("way-out", str(root / "way-out"), "pets/deep"):
        told = refusal(path, root)
        assert told == f"leads by a link out of the data root {root}"
        assert "outside" not in told
    assert refusal("way-out", root, tmp_path / "outside") is None, "the other side is a root itself"


def test_links_inside_and_roots_that_are_links_are_fine(root: Path, tmp_path: Path) -> None:
    (root / "alias").symlink_to(root / "pets")
    (tmp_path / "root-link").symlink_to(root)
    assert refusal("alias/train", root) is None
    assert refusal("pets/train", tmp_path / "root-link") is None
    assert refusal(str(tmp_path / "root-link" / "pets"), tmp_path / "root-link") is None


def test_what_is_not_there_or_no_folder_says_so(root: Path) -> None:
    assert refusal("nothing", root) == f"does not exist under the data root {root}"
    assert refusal("file/below", root) == f"does not exist under the data root {root}"
    assert refusal("file", root) == "must be a folder"
    (root / "dangling").symlink_to(root / "gone")
    (root / "loop").symlink_to(root / "loop")
    assert refusal("dangling", root) == "is a link to nothing"
    assert "cannot be read" in (refusal("loop", root) or "")
    assert "cannot be read" in (refusal("x" * 300, root) or "")


def test_a_root_that_is_not_seen_from_here_is_judged_by_words_only(root: Path, tmp_path: Path) -> None:
    unseen = tmp_path / "on-the-training-nodes"
    assert refusal("anything", unseen) is None
    assert refusal(str(unseen / "anything"), unseen) is None
    assert refusal("../x", unseen) == "must not contain `..`"
    assert refusal("nothing-here", root, unseen) is None, "it may be there"
    assert refusal("pets/train", unseen, root) is None
    assert refusal(str(root / "nothing"), root, unseen) is not None, "it can only be where it says"


def test_a_relative_path_is_looked_up_in_the_roots_in_turn(root: Path, tmp_path: Path) -> None:
    second = tmp_path / "second"
    (second / "pets").mkdir(parents=True)
    (second / "only-here").mkdir()
    assert refusal("only-here", root, second) is None
    (root / "only-here").symlink_to(tmp_path / "outside")
    assert "leads by a link out" in (refusal("only-here", root, second) or ""), "the first that is there counts"


def test_many_roots_are_named_by_a_few(root: Path) -> None:
    told = refusal("/etc", *(root / str(number) for number in range(8)))
    assert told is not None
    assert told.endswith("and 3 more")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_closed_to_this_user_is_left_to_the_trainer(root: Path) -> None:
    (root / "closed").mkdir(mode=0)
    assert refusal("closed/inner", root) is None
