"""What `basin data upload` sends the second time, against the API's own functions without HTTP."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from api.runs import uploads
from api.runs.access import Caller
from api.settings import Settings
from cli import data_upload
from cli.client import Client
from cli.failure import Failure

MAX = Caller(user_id=1, token_id=1, name="max", role="member")


class Uploads:
    """As `cli.upload_requests.Uploads`; `sent_bytes` counts contents."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.sent_bytes = 0

    def begin(self, name: str) -> uploads.Upload:
        return uploads.begin(self._settings, MAX, name)

    def have(self, name: str, paths: Sequence[str], *, sha256: bool = False) -> uploads.HaveFiles:
        return uploads.have(self._settings, MAX, name, paths, sha256=sha256)

    def sent(self, name: str) -> Iterator[str]:
        yield from uploads.sent(self._settings, MAX, name, None).paths

    def send(self, name: str, pieces: Sequence[dict[str, Any]], content: bytes) -> None:
        self.sent_bytes += len(content)
        uploads.take_part(self._settings, MAX, name, json.dumps(pieces).encode() + b"\n" + content)

    def finish(self, name: str, *, files: int, size: int) -> uploads.Uploaded:
        return uploads.finish(self._settings, MAX, name, uploads.WholeSet(files=files, bytes=size))


class Stub:
    def __init__(self, api: Uploads) -> None:
        self.uploads = api


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    folder = tmp_path / "pets"
    (folder / "cats").mkdir(parents=True)
    for name in ("a", "b", "c"):
        (folder / "cats" / name).write_bytes(name.encode() * 10)
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    folder.mkdir()
    return folder


@pytest.fixture
def api(root: Path) -> Uploads:
    return Uploads(Settings.model_construct(data_roots=(root,), data_uploads="members", data_uploads_leave_gib=0.0))


def send(api: Uploads, folder: Path) -> None:
    """All but the last word."""
    client = cast(Client, Stub(api))
    resumes = api.begin("pets").resumes
    data_upload._send_all(client, "pets", data_upload.files_in(folder), resumes=resumes)


def upload(api: Uploads, folder: Path) -> None:
    data_upload._send_whole(cast(Client, Stub(api)), folder, "pets")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_is_there_and_the_same_is_not_sent_again(api: Uploads, pets: Path, root: Path) -> None:
    send(api, pets)
    assert api.sent_bytes == 30
    upload(api, pets)
    assert api.sent_bytes == 30
    assert contents(root / "pets") == contents(pets)


@pytest.mark.parametrize("content", [b"B" * 10, b"B" * 4, b"B" * 40, b""])
def test_a_file_that_changed_in_between_is_sent_anew(api: Uploads, pets: Path, root: Path, content: bytes) -> None:
    send(api, pets)
    (pets / "cats" / "b").write_bytes(content)
    upload(api, pets)
    assert api.sent_bytes == 30 + len(content)
    assert contents(root / "pets") == contents(pets)


@pytest.mark.parametrize(("there", "left"), [(b"bbbb", 6), (b"b" * 10, 0), (b"b" * 30, 10), (b"", 10)])
def test_a_file_of_which_some_is_there_goes_on_or_begins_anew(
    api: Uploads, pets: Path, root: Path, there: bytes, left: int
) -> None:
    api.begin("pets")
    (root / ".uploading-pets" / "files" / "cats").mkdir()
    (root / ".uploading-pets" / "files" / "cats" / "b.part").write_bytes(there)
    upload(api, pets)
    assert api.sent_bytes == 20 + left
    assert contents(root / "pets") == contents(pets)


def test_half_a_file_that_changed_is_told_and_the_next_time_is_whole(api: Uploads, pets: Path, root: Path) -> None:
    api.begin("pets")
    (root / ".uploading-pets" / "files" / "cats").mkdir()
    (root / ".uploading-pets" / "files" / "cats" / "b.part").write_bytes(b"other")
    with pytest.raises(Exception, match="run the same command again"):
        upload(api, pets)
    upload(api, pets)
    assert contents(root / "pets") == contents(pets)


def test_however_little_the_api_reads_at_once_all_is_compared(
    api: Uploads, pets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "READ_AT_ONCE_BYTES", 1)
    send(api, pets)
    upload(api, pets)
    assert api.sent_bytes == 30


@pytest.mark.parametrize(
    "change", [Path.unlink, lambda path: path.rename(path.with_name("d"))], ids=["gone", "renamed"]
)
def test_files_that_are_gone_here_are_named_with_a_way_out(
    api: Uploads, pets: Path, root: Path, change: Callable[[Path], Any]
) -> None:
    send(api, pets)
    change(pets / "cats" / "b")
    with pytest.raises(Failure) as caught:
        upload(api, pets)
    assert "1 files were sent" in caught.value.sentence
    assert "(cats/b)" in caught.value.sentence
    assert f"basin data upload {pets} pets --abandon" in caught.value.sentence
    assert not (root / "pets").exists()


def test_of_many_a_few_are_named(api: Uploads, pets: Path) -> None:
    for number in range(9):
        (pets / f"{number}.jpg").touch()
    send(api, pets)
    for number in range(9):
        (pets / f"{number}.jpg").unlink()
    with pytest.raises(Failure, match=r"9 files were sent .*\(0\.jpg, 1\.jpg, 2\.jpg, 3\.jpg, 4\.jpg, \.\.\.\)"):
        upload(api, pets)


def test_a_file_that_goes_away_meanwhile_is_a_sentence(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object) -> None:
        (pets / "cats" / "a").unlink()
        (pets / "cats" / "a").read_bytes()

    monkeypatch.setattr(data_upload, "_send_whole", gone)
    with pytest.raises(Failure, match=r"cats/a cannot be read \(No such file or directory\)"):
        data_upload.upload(pets, "pets", abandon=False, as_json=True, url="http://127.0.0.1:1", token="t")
