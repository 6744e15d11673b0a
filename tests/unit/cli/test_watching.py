"""Progress on a terminal and in a file: one line each, and the reason of what went wrong in full."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from cli.client import Client
from cli.views import RunView
from cli.watching import watch
from tests.unit.cli.test_comparison import run

REASON = "The loss or the gradient was not finite; lower lr, rho or alpha, or lengthen the warm-up."
ENDED = [
    run("a", {"train_loss": 0.01, "validation_top1": 93.6}, name="Look-LayerSAM k=5", step=200, total_steps=200),
    run("b", name="[SAM]", status="failed", reason="loss_not_finite", sentence=REASON, step=7, total_steps=200),
    run("c", name="x" * 128, status="cancelled", reason="cancelled_by_user", sentence="Cancelled.", step=0),
]


def shown(runs: list[RunView], *, width: int, terminal: bool) -> list[str]:
    """The lines that stay; nothing is asked of the API, since all runs are over."""
    file = io.StringIO()
    console = Console(file=file, width=width, force_terminal=terminal, color_system=None)
    with Client("http://127.0.0.1:9", "token") as client:
        assert watch(client, runs, console) == runs
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", file.getvalue().rsplit("\x1b[1A\x1b[2K", 1)[-1])
    return [line.rstrip() for line in text.replace("\r", "").splitlines() if line.strip()]


@pytest.mark.parametrize("width", [80, 120, 40])
def test_bars_fit_the_terminal_and_reasons_stand_below_in_full(width: int) -> None:
    lines = shown(ENDED[:2], width=width, terminal=True)
    assert lines[-1] == f"[SAM] failed: {REASON}"
    bars = [line for line in lines if "200" in line]
    assert bars
    assert all(len(line) <= width for line in bars)
    assert "7/200" in bars[-1]


def test_a_name_as_long_as_they_may_be_leaves_room_for_the_rest() -> None:
    lines = shown(ENDED, width=80, terminal=True)
    assert any("7/200" in line and "failed" in line for line in lines)


def test_in_a_file_each_change_is_a_line_with_everything() -> None:
    assert shown(ENDED[:2], width=80, terminal=False) == [
        "Look-LayerSAM k=5  200/200  succeeded",
        f"[SAM]  7/200  failed  {REASON}",
    ]
