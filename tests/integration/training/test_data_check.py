"""`basin data check` as a person starts it, on folders that are fine, damaged and large."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.unit.trainer.image_folders import draw, make_folder, truncate
from trainer.contract.data import ImageFolderData

PATIENCE_SECONDS = 300


def start(*arguments: str | Path, **environment: str) -> subprocess.Popen[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BASIN_")}
    return subprocess.Popen(
        [sys.executable, "-m", "cli", "data", "check", *map(str, arguments)], text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**kept, "NO_COLOR": "1", "COLUMNS": "200", **environment},
    )  # fmt: skip


def check(*arguments: str | Path, **environment: str) -> tuple[int, str, str]:
    process = start(*arguments, **environment)
    out, err = process.communicate(timeout=PATIENCE_SECONDS)
    assert "Traceback" not in out + err
    return process.returncode, out, err


def checked(*arguments: str | Path, **environment: str) -> tuple[int, dict[str, Any]]:
    code, out, _ = check(*arguments, "--json", **environment)
    return code, json.loads(out)


def test_a_sound_folder_gives_its_numbers_and_a_section_that_a_spec_takes(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "root" / "pets", 3, 4, side=24)
    shutil.rmtree(folder / "c002")
    make_folder(folder / "more", 1, 6)
    os.rename(folder / "more" / "c000", folder / "c002")
    os.rmdir(folder / "more")
    code, out, _ = check(folder, BASIN_DATA_ROOTS=str(tmp_path / "root"))
    assert code == 0
    assert "4 (c000) to 6 (c002), median 4; 1.5 to 1" in out
    assert "24 x 24 (8), 8 x 8 (6)" in out
    section = yaml.safe_load(out[out.index("data:") :])["data"]
    assert section == {"source": "image_folder", "train": "pets"}
    ImageFolderData.model_validate(section)
    size = sum(path.stat().st_size for path in folder.rglob("*.png"))
    code, report = checked(folder)
    assert (code, report["folders"][0]["bytes"], report["folders"][0]["modes"]) == (0, size, {"RGB": 14})
    assert yaml.safe_load(report["spec"])["data"]["train"] == str(folder)


def test_all_that_would_fail_a_run_is_named_and_copies_are_found(tmp_path: Path) -> None:
    train = make_folder(tmp_path / "train", 3, 5, extension="jpg", side=32)
    validation = make_folder(tmp_path / "val", 4, 2, extension="jpg", seed=100)
    truncate(train / "c001" / "002.jpg")
    (train / "c001" / "003.jpg").write_text("words")
    (train / "empty").mkdir()
    (train / "c000" / "notes.txt").touch()
    os.symlink("nothing", train / "c002" / "link.jpg")
    shutil.copy(train / "c000" / "001.jpg", train / "c002" / "copy.jpg")
    shutil.copy(train / "c000" / "003.jpg", validation / "c000" / "same.jpg")
    shutil.copy(train / "c000" / "004.jpg", train / "c000" / "again.jpg")
    code, report = checked(tmp_path)
    assert code == 1
    ours, theirs = report["folders"]
    assert (ours["name"], theirs["name"], ours["ignored"]) == ("train", "validation", 1)
    assert {Path(each["path"]).name: each["why"] for each in ours["broken"]["first"]}.keys() == {"002.jpg", "003.jpg"}
    assert {each["kind"] for each in ours["problems"]["first"]} == {"empty_class", "bad_link"}
    assert [each["kind"] for each in theirs["problems"]["first"]] == ["unknown_class"]
    names = {
        kind: [[os.path.relpath(path, tmp_path) for path in group] for group in found["first"]]
        for kind, found in report["copies"].items()
    }
    assert names == {
        "in_two_classes": [["train/c000/001.jpg", "train/c002/copy.jpg"]],
        "in_both_folders": [["train/c000/003.jpg", "val/c000/same.jpg"]],
        "in_one_class": [["train/c000/004.jpg", "train/c000/again.jpg"]],
    }
    code, out, _ = check(train, "--validation", validation, "--workers", "1")
    assert code == 1
    assert "c001/003.jpg is no image that Pillow knows" in out
    assert "A run on this would end with the reason data_unreadable" in out


def test_the_first_fifty_broken_files_are_named_and_all_are_counted(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "pets", 1, 1)
    for number in range(60):
        (folder / "c000" / f"b{number}.png").touch()
    code, out, _ = check(folder)
    assert code == 1
    assert out.count("is no image that Pillow knows") == 50
    assert "... and 10 more" in out


def test_links_are_measured_by_the_data_roots(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "root" / "pets", 1, 1)
    draw(1).save(tmp_path / "outside.png")
    os.symlink(tmp_path / "outside.png", folder / "c000" / "link.png")
    assert check(folder)[0] == 0
    code, out, _ = check(folder, BASIN_DATA_ROOTS=str(tmp_path / "root"))
    assert code == 1
    assert f"is a link to {tmp_path}/outside.png, outside the data root {tmp_path}/root" in out


def test_a_path_that_is_no_folder_is_refused_in_a_sentence(tmp_path: Path) -> None:
    code, out, err = check(tmp_path / "gone")
    assert (code, out) == (2, "")
    assert err == f"basin: {tmp_path}/gone is not there: name a folder that holds one folder per class.\n"


def test_ctrl_c_gives_what_was_seen_so_far(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "pets", 1, 1)
    draw(0, 1500).save(folder / "c000" / "big.png")
    for number in range(3000):
        os.link(folder / "c000" / "big.png", folder / "c000" / f"{number}.png")
    process = subprocess.Popen(
        [sys.executable, "-m", "trainer.data_check", str(folder), "--workers", "1"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["event"] == "progress"
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 130
    report = json.loads(out.splitlines()[-1])
    assert report["event"] == "report"
    assert not report["complete"]
    assert 0 < report["folders"][0]["looked_at"] < 3002


def test_ctrl_c_at_the_command_line_prints_the_report_and_says_so(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "pets", 1, 1)
    draw(0, 1500).save(folder / "c000" / "big.png")
    for number in range(3000):
        os.link(folder / "c000" / "big.png", folder / "c000" / f"{number}.png")
    process = start(folder, "--workers", "1", FORCE_COLOR="1")
    assert process.stderr is not None
    while b"/3002" not in (piece := os.read(process.stderr.fileno(), 4096)):  # the progress bar
        assert piece
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 130
    assert "Interrupted: this is what was looked at so far." in out
    assert "data:" in out
