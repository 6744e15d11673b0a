"""Data sets over the API: whole or not at all, only under the root, never over another, and on from where it broke."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.errors import NotAllowed, TooLarge
from api.runs import uploads
from api.runs.access import Caller
from api.settings import Settings
from cli import data_upload
from cli.answers import Unreachable
from cli.client import Client
from cli.failure import Failure
from cli.upload_requests import UploadedView, Uploads
from tests.integration.api.stack import TOKENS, Api, person


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


@pytest.fixture
def settings(settings: Settings, root: Path) -> Settings:
    return settings.model_copy(update={"data_roots": (root,), "data_uploads_leave_gib": 0.0})


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """Many small files and one that is larger than a part."""
    folder = tmp_path / "pets"
    for number in range(30):
        path = folder / f"class-{number % 3}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes([number]) * (1000 + number))
    (folder / "class-0" / "large.tiff").write_bytes(bytes(range(256)) * 70_000)
    (folder / "class-0" / "empty.txt").touch()
    (folder / "class-0" / ".hidden").write_text("no")
    return folder


def client_of(api: Api, who: str = "max") -> Client:
    return Client(api.url, TOKENS[who][1])


def upload(api: Api, folder: Path, name: str, who: str = "max") -> None:
    data_upload.upload(folder, name, abandon=False, as_json=True, url=api.url, token=TOKENS[who][1])


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".hidden"
    }


def send(api: Api, name: str, pieces: list[dict[str, Any]], content: bytes, who: str = "max") -> httpx.Response:
    body = json.dumps(pieces).encode() + b"\n" + content
    headers = person(who) | {"Content-Type": "application/octet-stream"}
    return api.http.post(f"/api/v1/data/uploads/{name}/parts", headers=headers, content=body)


def piece(path: str, content: bytes, **other: Any) -> dict[str, Any]:
    about = {"path": path, "offset": 0, "length": len(content), "total": len(content)}
    return {**about, "sha256": hashlib.sha256(content).hexdigest(), **other}


class Cut(Uploads):
    """The connection goes before the last word."""

    def finish(self, name: str, *, files: int, size: int) -> UploadedView:
        raise Unreachable("http://api", httpx.ConnectError("gone"))


class TestUpload:
    def test_what_arrives_is_what_was_sent_and_appears_at_once(self, api: Api, pets: Path, root: Path) -> None:
        with client_of(api) as client:
            client.uploads.begin("pets")
            data_upload._send_all(client, "pets", data_upload.files_in(pets), resumes=False)
            assert not (root / "pets").exists()
            done = client.uploads.finish("pets", files=32, size=sum(len(each) for each in contents(pets).values()))
        assert done.path == str(root / "pets")
        assert contents(root / "pets") == contents(pets)
        assert [path.name for path in root.iterdir()] == ["pets"]

    def test_one_that_broke_goes_on_and_sends_only_what_is_missing(
        self, api: Api, pets: Path, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        sent: list[int] = []
        original = data_upload._send

        def breaks(client: Client, name: str, pieces: Any, content: bytes) -> None:
            if len(sent) == 2:
                raise Unreachable(api.url, httpx.ConnectError("gone"))
            original(client, name, pieces, content)
            sent.append(len(content))

        monkeypatch.setattr(data_upload, "_send", breaks)
        with pytest.raises(Unreachable):
            upload(api, pets, "pets")
        before = sum(sent)
        assert before == 2 * data_upload.PART_BYTES
        sent.clear()
        monkeypatch.setattr(data_upload, "_send", lambda *given: (original(*given), sent.append(len(given[3])))[1])
        upload(api, pets, "pets")
        assert before + sum(sent) == sum(len(each) for each in contents(pets).values())
        assert contents(root / "pets") == contents(pets)

    def test_a_file_that_changed_on_its_way_begins_anew(self, api: Api, root: Path) -> None:
        with client_of(api) as client:
            client.uploads.begin("pets")
        answer = send(api, "pets", [piece("a.jpg", b"whole", sha256="0" * 64)], b"whole")
        assert (answer.status_code, "begins anew" in answer.json()["detail"]) == (422, True)
        assert send(api, "pets", [piece("a.jpg", b"whole")], b"whole").json()["bytes"] == {"a.jpg": 5}
        assert send(api, "pets", [piece("a.jpg", b"whole")], b"whole").status_code == 200
        assert (root / ".uploading-pets" / "files" / "a.jpg").read_bytes() == b"whole"

    def test_what_changed_or_went_in_between_is_sent_anew_or_named(
        self, api: Api, pets: Path, root: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(data_upload, "_must_be_no_more", lambda *_: pytest.fail("the first time"))
            patched.setattr(Client, "uploads", property(lambda client: Cut(client._ask)))
            with pytest.raises(Unreachable):
                upload(api, pets, "pets")
        (pets / "class-0" / "0.jpg").write_bytes(b"z" * 1000)
        (pets / "class-0" / "large.tiff").write_bytes(b"smaller")
        (pets / "class-1" / "1.jpg").rename(pets / "class-2" / "moved.jpg")
        with pytest.raises(Failure, match=r"1 files were sent .*\(class-1/1\.jpg\).*--abandon"):
            upload(api, pets, "pets")
        (pets / "class-1" / "1.jpg").write_bytes(bytes([1]) * 1001)
        upload(api, pets, "pets")
        assert contents(root / "pets") == contents(pets)

    def test_an_admin_may_abandon_what_somebody_left(self, api: Api, pets: Path, root: Path) -> None:
        with client_of(api, "max") as max_, client_of(api, "ada") as ada:
            max_.uploads.begin("pets")
            ada.uploads.abandon("pets")
        assert list(root.iterdir()) == []

    def test_it_gets_no_name_while_something_is_missing(self, api: Api, root: Path) -> None:
        with client_of(api) as client:
            client.uploads.begin("pets")
            send(api, "pets", [piece("a.jpg", b"whole")], b"whole")
            send(api, "pets", [piece("b.jpg", b"ha", total=4)], b"ha")
            with pytest.raises(Failure, match=r"2 files with 7 bytes are there \(1 not whole\)"):
                client.uploads.finish("pets", files=2, size=9)
            assert not (root / "pets").exists()
            client.uploads.abandon("pets")
        assert list(root.iterdir()) == []


class TestRefused:
    @pytest.mark.parametrize(
        "path",
        [
            "../out",
            "/etc/x",
            "a/../../x",
            ".hidden",
            "a//b",
            "a/.git/x",
            "x.part",
            "d.part/x",
            "a\x00b",
            "a\nb",
            "d/" * 9 + "x",
        ],
    )
    def test_a_path_that_leads_elsewhere(self, api: Api, root: Path, path: str) -> None:
        with client_of(api) as client:
            client.uploads.begin("pets")
        assert send(api, "pets", [piece(path, b"x")], b"x").status_code == 422
        assert list((root / ".uploading-pets" / "files").iterdir()) == []
        assert {each.name for each in root.rglob("*")} == {".uploading-pets", "by", "files", "hashes"}

    def test_a_data_set_that_is_there_is_never_overwritten(self, api: Api, pets: Path, root: Path) -> None:
        (root / "pets").mkdir()
        with pytest.raises(Failure, match="there is a data set 'pets'"):
            upload(api, pets, "pets")
        with client_of(api) as client:
            client.uploads.begin("cats")
            send(api, "cats", [piece("a.jpg", b"x")], b"x")
            (root / "cats").mkdir()
            (root / "cats" / "theirs").touch()
            with pytest.raises(Failure, match="there is a data set 'cats'"):
                client.uploads.finish("cats", files=1, size=1)
        assert [path.name for path in (root / "cats").iterdir()] == ["theirs"]

    def test_somebody_elses_upload_is_left_alone(self, api: Api) -> None:
        with client_of(api) as max_, client_of(api, "mia") as mia:
            max_.uploads.begin("pets")
            with pytest.raises(Failure, match="somebody else uploads"):
                mia.uploads.begin("pets")
        assert send(api, "pets", [piece("a", b"x")], b"x", "mia").status_code == 409

    def test_a_link_is_not_sent_and_a_link_as_the_name_is_not_followed(self, api: Api, pets: Path, root: Path) -> None:
        (root / "out").symlink_to("/tmp")
        with client_of(api) as client, pytest.raises(Failure, match="there is a data set 'out'"):
            client.uploads.begin("out")
        (pets / "class-0" / "link.jpg").symlink_to("/etc/passwd")
        with pytest.raises(Failure, match=r"link\.jpg is a link"):
            upload(api, pets, "pets")

    def test_parts_that_are_malformed_or_too_large(self, api: Api) -> None:
        with client_of(api) as client:
            client.uploads.begin("pets")
        assert send(api, "pets", [piece("a", b"xy")], b"x").status_code == 422
        headers = person("max") | {"Content-Type": "application/octet-stream"}
        nested = api.http.post("/api/v1/data/uploads/pets/parts", headers=headers, content=b"[" * 500_000 + b"\n")
        assert (nested.status_code, "a list of its pieces" in nested.json()["detail"]) == (422, True)
        assert send(api, "pets", [piece("a", b"xy", offset=5, total=9)], b"xy").status_code == 409
        assert send(api, "pets", [piece("a", b"xy", total=1)], b"xy").status_code == 422
        assert send(api, "pets", [piece("a", b"x" * 10 * 2**20)], b"x" * 10 * 2**20).status_code == 413
        assert send(api, "none", [piece("a", b"x")], b"x").status_code == 404

    def test_a_disk_that_would_be_full(self, api: Api) -> None:
        full = api.settings.model_copy(update={"data_uploads_leave_gib": 10**9})
        caller = Caller(user_id=1, token_id=1, name="max", role="member")
        uploads.begin(full, caller, "pets")
        with pytest.raises(TooLarge, match="make room there"):
            uploads.take_part(full, caller, "pets", json.dumps([piece("a", b"x")]).encode() + b"\nx")

    @pytest.mark.parametrize(("who", "status"), [("ada", 200), ("max", 200), ("vic", 403)])
    def test_viewers_may_not(self, api: Api, who: str, status: int) -> None:
        answer = api.http.put("/api/v1/data/uploads/pets", headers=person(who))
        assert answer.status_code == status, answer.text


def test_uploads_that_are_off_are_off_for_everybody(settings: Settings) -> None:
    for value, role, allowed in (("off", "admin", False), ("admins", "member", False), ("admins", "admin", True)):
        caller = Caller(user_id=1, token_id=1, name="x", role=role)  # type: ignore[arg-type]
        limited = settings.model_copy(update={"data_uploads": value})
        if allowed:
            uploads.begin(limited, caller, "pets")
        else:
            with pytest.raises(NotAllowed, match="BASIN_DATA_UPLOADS"):
                uploads.begin(limited, caller, "pets")
