"""Training in processes of its own: gloo ranks, and `python -m trainer`. The small specs are the unit tests'."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.trainer.conftest import _leave_torch_as_it_was, run, small_spec

__all__ = ["_leave_torch_as_it_was", "run", "small_spec"]

RANK_PROGRAM = Path(__file__).with_name("ranks.py")
TIMEOUT_SECONDS = 600


@pytest.fixture
def ranks(tmp_path):
    """Runs a list of work items in processes that are started once (which costs more than the training).

    Returns the folder, with one inside for each item, and the answers of each rank.
    """

    def go(items, size):
        folder = tmp_path / "ranks"
        folder.mkdir()
        (folder / "work.json").write_text(json.dumps(items))
        environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
        logs = [(folder / f"log-{rank}.txt").open("w") for rank in range(size)]
        processes = [
            subprocess.Popen(
                [sys.executable, str(RANK_PROGRAM), str(rank), str(size), str(folder)],
                env=environment, stdout=log, stderr=log,
            )
            for rank, log in enumerate(logs)
        ]  # fmt: skip
        try:
            codes = [process.wait(timeout=TIMEOUT_SECONDS) for process in processes]
        finally:
            for process, log in zip(processes, logs, strict=True):
                process.kill()
                log.close()
        assert codes == [0] * size, "\n".join((folder / f"log-{n}.txt").read_text()[-2000:] for n in range(size))
        answers = [json.loads((folder / f"answers-{rank}.json").read_text()) for rank in range(size)]
        return folder, answers

    return go


@pytest.fixture
def two_ranks(ranks):
    return lambda items: ranks(items, size=2)
