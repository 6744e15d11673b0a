"""The stack's folder: chosen once, kept, readable by its owner only; one stack at a time."""

from __future__ import annotations

import multiprocessing
import os
import socket
import stat
from pathlib import Path

import pytest

from cli.connection import connect
from cli.failure import ExitCode, Failure
from cli.stack.home import PORT_NAMES, Home, settled_config, settled_short_folder
from cli.stack.lock import take_lock
from cli.stack.parts import Stack
from cli.stack.ports import choose_ports, is_free
from cli.stack.up import with_free_ports


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "deep" / "home")
    home.make()
    return home


def test_ports_and_secrets_are_chosen_once_and_kept(home: Home) -> None:
    first, second = settled_config(home, api_port=None), settled_config(home, api_port=None)
    assert first == second
    assert len(set(first.ports.values())) == len(PORT_NAMES)
    assert min(len(first.secret), len(first.postgres_password), len(first.valkey_password)) >= 32
    assert stat.S_IMODE(home.config_file.stat().st_mode) == 0o600
    first.short_folder.rmdir()


def test_a_given_api_port_is_kept(home: Home) -> None:
    assert settled_config(home, api_port=23456).ports["api"] == 23456
    config = settled_config(home, api_port=None)
    assert config.ports["api"] == 23456
    config.short_folder.rmdir()


def test_ray_sockets_stay_below_the_limit_of_unix_sockets(home: Home) -> None:
    config = settled_config(home, api_port=None)
    session = "session_2026-11-24_03-59-21_412624_1234567/sockets/plasma_store"
    assert len(str(config.short_folder / "ray" / session)) <= 107
    config.short_folder.rmdir()


def test_a_swept_short_folder_is_made_again_and_a_strangers_is_left_alone(tmp_path: Path) -> None:
    gone = tmp_path / "short"
    assert settled_short_folder(gone) == gone
    assert settled_short_folder(gone) == gone
    gone.chmod(0o777)
    other = settled_short_folder(gone)
    assert other != gone
    other.rmdir()


def test_a_damaged_configuration_is_one_sentence(home: Home) -> None:
    home.config_file.write_text("{", encoding="utf-8")
    with pytest.raises(Failure, match="is damaged"):
        home.read_config()


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Failure, match="choose another folder with BASIN_HOME"):
        Home(tmp_path / "file" / "home").make()


def hold_lock(path: Path, taken: multiprocessing.Event, over: multiprocessing.Event) -> None:  # type: ignore[valid-type]
    take_lock(path)
    taken.set()  # type: ignore[attr-defined]
    over.wait(30)  # type: ignore[attr-defined]


def test_a_locked_folder_names_who_has_it_and_is_free_after_its_death(home: Home) -> None:
    context = multiprocessing.get_context("spawn")
    taken, over = context.Event(), context.Event()
    holder = context.Process(target=hold_lock, args=(home.lock_file, taken, over))
    holder.start()
    assert taken.wait(30)
    with pytest.raises(Failure, match=f"already runs on {home.folder} \\(process {holder.pid}\\)"):
        take_lock(home.lock_file)
    holder.kill()
    holder.join()
    os.close(take_lock(home.lock_file))


def test_chosen_ports_are_free_and_below_the_outgoing_range() -> None:
    ports = choose_ports([str(number) for number in range(50)])
    assert len(set(ports.values())) == 50
    assert all(20_000 <= port < 32_000 for port in ports.values())
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert not is_free(listener.getsockname()[1])


def test_a_taken_port_of_the_api_is_refused_and_another_moves(home: Home) -> None:
    config = settled_config(home, api_port=None)
    stack = Stack(home, config, slots=2, dashboard=None)
    with socket.create_server(("127.0.0.1", config.ports["valkey"])):
        moved = with_free_ports(home, config, stack.external)
    assert moved.ports["valkey"] != config.ports["valkey"]
    assert moved == home.read_config()
    assert {name: port for name, port in moved.ports.items() if name != "valkey"} == {
        name: port for name, port in config.ports.items() if name != "valkey"
    }
    with (
        socket.create_server(("127.0.0.1", config.ports["api"])),
        pytest.raises(Failure, match=f"port {config.ports['api']} of the API is taken .* --port N"),
    ):
        with_free_ports(home, config, stack.external)
    config.short_folder.rmdir()


def test_without_a_stack_the_command_line_says_how_to_get_one(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BASIN_API_URL", "BASIN_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("BASIN_HOME", str(home.folder))
    with pytest.raises(Failure, match="`basin up`, or give --url and --token") as caught:
        connect()
    assert caught.value.exit_code is ExitCode.unreachable
    with pytest.raises(Failure, match="there is no token"):
        connect("http://127.0.0.1:1")
    with connect("http://127.0.0.1:1", "given") as client:
        assert client.url == "http://127.0.0.1:1"
