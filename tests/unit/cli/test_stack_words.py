"""What `basin up` says, to a person and to a program, and where it lets image folders lie."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.stack import output
from cli.stack.home import Home, StackConfig
from cli.stack.parts import Stack, control_environment
from cli.stack.up import print_ready, say_ready


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    home = Home(tmp_path / "home")
    home.make()
    home.token_file.write_text("basin_token\n")
    ports = {"api": 5001, "postgres": 5002, "valkey": 5003, "ray_jobs": 5004}
    config = StackConfig(
        stack_id="s", short_folder=tmp_path, ports=ports, postgres_password="p", valkey_password="v", secret="s"
    )
    return Stack(home, config, 8, None)


@pytest.fixture(autouse=True)
def _standard_output_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "_terminal", None)
    monkeypatch.delenv("BASIN_DATA_ROOTS", raising=False)


def test_image_folders_lie_in_the_home_unless_the_caller_names_roots(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert stack.home.data.is_dir()
    assert stack.data_roots == [str(stack.home.data)]
    assert control_environment(stack)["BASIN_DATA_ROOTS"] == str(stack.home.data)
    monkeypatch.setenv("BASIN_DATA_ROOTS", "/data:/more")
    assert stack.data_roots == ["/data", "/more"]
    assert control_environment(stack)["BASIN_DATA_ROOTS"] == "/data:/more"
    monkeypatch.setenv("BASIN_DATA_ROOTS", "")
    assert stack.data_roots == []


def test_a_person_reads_where_data_goes_and_the_link_last(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    say_ready(stack, 4.2)
    first, second, last = capsys.readouterr().out.splitlines()
    assert "ready in 4.2 s with 8 slots" in first
    assert f"go under {stack.home.data}" in second
    assert last.endswith("http://127.0.0.1:5001/#token=basin_token")


def test_a_program_reads_one_document_and_nothing_else(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    output.speak_on_standard_error()
    output.say("starting", "postgres")
    print_ready(stack, 4.24)
    told = capsys.readouterr()
    assert "starting" in told.err
    assert json.loads(told.out) == {
        "url": "http://127.0.0.1:5001",
        "link": "http://127.0.0.1:5001/#token=basin_token",
        "home": str(stack.home.folder),
        "slots": 8,
        "data_roots": [str(stack.home.data)],
        "ready_seconds": 4.2,
    }
