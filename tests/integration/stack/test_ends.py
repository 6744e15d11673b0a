"""The supervisor ends: by Ctrl-C, or by kill -9. Nothing is left of it, and the next start goes on where it was."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable

import psutil

from tests.integration.running_stack import RunningStack

SPEC = "{model: {name: resnet10t}, optimizer: {name: sgd, lr: 0.1}, global_batch_size: 8, steps: 1}"


def submit_one_that_waits(stack: RunningStack) -> str:
    """A run that is still queued when the stack ends: with Celery held down nobody starts it."""
    stack.stop("celery")
    return str(json.loads(stack.basin("run", "submit", "-", "--json", text=SPEC).stdout)["id"])


def test_a_killed_supervisor_leaves_no_orphan_and_the_next_goes_on(
    fresh_stack: Callable[..., RunningStack],
) -> None:
    stack = fresh_stack()
    run_id, ports, token = submit_one_that_waits(stack), stack.config.ports, stack.token
    stack.kill_supervisor()
    stack.wait_until_gone()  # By the kernel and the guard, without another start.
    assert (stack.home / "logs" / "guard.log").read_text() == ""
    stack.up_again()
    assert (stack.config.ports, stack.token) == (ports, token)
    assert stack.client.run(run_id).id == run_id

    # At once again: the start itself must wait for the guard or end what is left.
    stack.kill_supervisor()
    stack.up_again()
    assert stack.client.run(run_id).id == run_id
    assert stack.interrupt() == 0
    assert not stack.left()


def test_a_supervisor_killed_together_with_its_guard_is_cleaned_up_by_the_next(
    fresh_stack: Callable[..., RunningStack],
) -> None:
    stack = fresh_stack()
    [guard] = [
        child for child in psutil.Process(stack.supervisor_pid).children() if "cli.stack.guard" in child.cmdline()
    ]
    guard.send_signal(signal.SIGKILL)
    stack.kill_supervisor()
    stack.up_again()
    assert stack.client.me()["name"] == "local"
    assert stack.interrupt() == 0
    assert not stack.left()
    assert not (stack.config.short_folder / "control").exists()
