"""Completion as a shell asks for it: in a real bash, and with what zsh and fish put into the environment."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.running_stack import RunningStack
from tests.integration.stack.test_run_changes import submit

BASIN = Path(sys.executable).with_name("basin")
SCRIPT = """
eval "$({basin} --show-completion)"
complete -p basin > /dev/null || exit 9
COMP_WORDS=({words}); COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
_basin_completion {basin}
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


def in_bash(words: list[str], environment: dict[str, str]) -> list[str]:
    """What bash offers for the last of the words."""
    script = SCRIPT.format(basin=shlex.quote(str(BASIN)), words=" ".join(shlex.quote(word) for word in words))
    done = subprocess.run(
        ["bash", "--norc", "-c", script], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout.split()


def asked(shell: str, line: str, environment: dict[str, str]) -> str:
    return subprocess.run(
        [str(BASIN)],
        env={
            **environment,
            "_BASIN_COMPLETE": f"complete_{shell}",
            "_TYPER_COMPLETE_ARGS": line,
            "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        },
        capture_output=True, text=True, timeout=60, check=False,
    ).stdout  # fmt: skip


@pytest.fixture(scope="module")
def run_id(stack: RunningStack) -> str:
    run_id = str(submit(stack, "--name", "completed: [one]", "--study", "completion")["id"])
    stack.basin("run", "cancel", run_id)
    return run_id


def test_bash_completes_commands_words_ids_and_studies(stack: RunningStack, run_id: str) -> None:
    environment = stack.environment()
    assert in_bash(["basin", "run", "cl"], environment) == ["clone"]
    assert run_id in in_bash(["basin", "run", "show", ""], environment)
    assert in_bash(["basin", "run", "show", run_id[:-1]], environment) == [run_id]
    assert run_id not in in_bash(["basin", "run", "compare", run_id, ""], environment)
    assert in_bash(["basin", "run", "list", "--status", "can"], environment) == ["cancelling", "cancelled"]
    assert in_bash(["basin", "spec", "init", "--method", "look"], environment) == ["looksam", "look_layersam"]
    assert "completion" in in_bash(["basin", "run", "list", "--study", "compl"], environment)
    assert in_bash(["basin", "run", "compare", "--metric", "sharp"], environment) == ["sharpness"]
    assert in_bash(["basin", "stack", "stop", "po"], environment) == ["postgres"]


def test_zsh_and_fish_are_told_what_the_words_mean(stack: RunningStack, run_id: str) -> None:
    environment = stack.environment()
    assert f"{run_id}\tcompleted:" in asked("fish", "basin run show ", environment)
    assert f'"{run_id}":"completed' in asked("zsh", "basin run show ", environment)
    assert "looksam\tLookSAM: the ascent gradient" in asked("fish", "basin spec init --method look", environment)


def test_without_an_api_nothing_is_offered_and_nothing_is_said(stack: RunningStack, tmp_path: Path) -> None:
    environment = {**stack.environment(), "BASIN_HOME": str(tmp_path)}
    assert in_bash(["basin", "run", "show", ""], environment) == []
    dead = {**environment, "BASIN_API_URL": "http://127.0.0.1:9", "BASIN_TOKEN": "x"}
    assert in_bash(["basin", "run", "show", ""], dead) == []
