from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.trainer_service.report_server import ATTEMPT, TOKEN, ReportServer
from trainer.assignment import Assignment
from trainer.contract.reports import Claim


@pytest.fixture
def server() -> Iterator[ReportServer]:
    with ReportServer() as running:
        yield running


@pytest.fixture
def assignment(server: ReportServer, tmp_path: Path) -> Assignment:
    return assignment_of(server, tmp_path)


def assignment_of(server: ReportServer, folder: Path, *, lease_interval_seconds: float = 3600.0) -> Assignment:
    claim = Claim(
        run_id="r1", attempt_id=ATTEMPT, attempt_number=1, attempt_token=TOKEN, spec={},
        storage=str(folder / "storage"), lease_interval_seconds=lease_interval_seconds,
    )  # fmt: skip
    return Assignment(claim=claim, api_url=server.url, spool=str(folder / "spool"))
