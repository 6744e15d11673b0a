"""`basin up`: takes the folder, ends what an earlier stack left, and hands over to the supervisor."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import httpx

from cli.failure import ExitCode, Failure
from cli.stack import postgres, ray_head, valkey
from cli.stack.home import Home, StackConfig, settled_config
from cli.stack.lock import take_lock
from cli.stack.output import say, speak_on_standard_error
from cli.stack.parts import Stack, parts_of
from cli.stack.ports import choose_ports, is_free
from cli.stack.processes import Records, end_leftovers
from cli.stack.supervisor import Supervisor

DASHBOARD = Path(__file__).resolve().parents[2] / "frontend" / "dist"
LEAST_SLOTS = 2
READY_SECONDS = 60.0
"""From the last part's start until the API must call all of it ready."""


def up(home: Home, *, slots: int | None, port: int | None, as_json: bool = False) -> None:
    """Runs the stack until Ctrl-C. Raises Failure with one sentence where it cannot.

    With `as_json`, standard output gets one document when the stack is ready, and nothing else.
    """
    if as_json:
        speak_on_standard_error()
    home.make()
    lock = take_lock(home.lock_file)
    config = settled_config(home, api_port=port)
    ended = end_leftovers(home, config.stack_id, Records.read(home.records_file), patience_seconds=3.0)
    if ended:
        say(f"ended {ended} processes that an earlier stack on {home.folder} had left")
    stack = Stack(home, config, slots or max(LEAST_SLOTS, available_cpus()), dashboard())
    check_installed(stack)
    stack = Stack(home, with_free_ports(home, config, stack.external), stack.slots, stack.dashboard)
    guard = start_guard(home, lock)
    try:
        asyncio.run(supervise(stack, as_json=as_json))
    finally:
        assert guard.stdin is not None
        guard.communicate(b"all is well\n")
        os.close(lock)


async def supervise(stack: Stack, *, as_json: bool) -> None:
    async with httpx.AsyncClient(timeout=5, trust_env=False) as client:
        supervisor = Supervisor(stack.home, stack.config, parts_of(stack, client))
        tell = print_ready if as_json else say_ready
        await supervisor.run(lambda: wait_until_ready(client, stack.api_url), lambda seconds: tell(stack, seconds))


async def wait_until_ready(client: httpx.AsyncClient, api_url: str) -> None:
    """Until the API says that runs can be taken and trained; gives up with what is missing, since it may come later."""
    missing = "the API did not answer"
    give_up_at = time.monotonic() + READY_SECONDS
    while time.monotonic() < give_up_at:
        with suppress(httpx.HTTPError, ValueError):
            answer = await client.get(f"{api_url}/readyz")
            if answer.is_success:
                return
            checks = answer.json().get("checks", [])
            missing = "; ".join(f"{check['name']}: {check['detail']}" for check in checks if not check["ok"])
        await asyncio.sleep(0.1)
    say(f"all parts run, but runs cannot be trained yet: {missing}")


def say_ready(stack: Stack, seconds: float) -> None:
    say(f"ready in {seconds:.1f} s with {stack.slots} slots; state in {stack.home.folder}; Ctrl-C stops everything")
    say(f"image folders to train on go under {' or '.join(stack.data_roots) or 'BASIN_DATA_ROOTS, which names none'}")
    say(link(stack))


def print_ready(stack: Stack, seconds: float) -> None:
    document = {
        "url": stack.api_url,
        "link": link(stack),
        "home": str(stack.home.folder),
        "slots": stack.slots,
        "data_roots": stack.data_roots,
        "ready_seconds": round(seconds, 1),
    }
    sys.stdout.write(json.dumps(document) + "\n")
    sys.stdout.flush()


def link(stack: Stack) -> str:
    """The dashboard, logged in."""
    return f"{stack.api_url}/#token={stack.home.token()}"


def available_cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def dashboard() -> Path | None:
    """The built dashboard; without one the API serves no pages, and that is said."""
    if os.environ.get("BASIN_DASHBOARD"):
        return Path(os.environ["BASIN_DASHBOARD"])
    if (DASHBOARD / "index.html").exists():
        return DASHBOARD
    say("the dashboard is not built, so there are no pages: `make setup` builds it")
    return None


def check_installed(stack: Stack) -> None:
    checks = {"postgres": postgres.binaries, "valkey": valkey.binary, "ray": ray_head.check_installed}
    for part, check in checks.items():
        if part not in stack.external:
            check()


def with_free_ports(home: Home, config: StackConfig, external: dict[str, str]) -> StackConfig:
    """The kept ports. The API's must be free, since links and clients hold it; another that is taken is replaced."""
    own = {name: port for name, port in config.ports.items() if name.split("_")[0] not in external}
    taken = {name: port for name, port in own.items() if not is_free(port)}
    if "api" in taken:
        raise Failure(
            f"port {taken['api']} of the API is taken by another program: stop that one, or choose another port "
            "with `basin up --port N`"
        )
    if not taken:
        return config
    for name, port in taken.items():
        say(f"port {port} of {name} is taken by another program; it moves to a new one")
    config = config.model_copy(update={"ports": config.ports | choose_ports(taken, avoid=config.ports.values())})
    home.write_config(config)
    return config


def start_guard(home: Home, lock: int) -> subprocess.Popen[bytes]:
    """The process that ends the parts if we are killed (`cli/stack/guard.py`)."""
    try:
        with (home.logs / "guard.log").open("ab") as log:  # Nobody else could tell why it did not do its work.
            return subprocess.Popen(
                [sys.executable, "-m", "cli.stack.guard", str(home.folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=log,
                pass_fds=(lock,),
                start_new_session=True,
            )
    except OSError as error:
        raise Failure(f"the guard process cannot be started: {error.strerror}", ExitCode.failed) from None
