"""How the driver claims its attempt: again while the API is away, once where it is refused, never without a launch."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import Future
from pathlib import Path

import pytest

import trainer.main
from tests.unit.trainer_service.conftest import assignment_of
from tests.unit.trainer_service.report_server import ATTEMPT, LAUNCH_CODE, Fault, ReportServer
from trainer.api_client import ApiClient, Refused, Unreachable
from trainer.contract.reports import Claim, LaunchPayload
from trainer.main import claim, storage_proof


def payload_of(server: ReportServer, storage: Path, code: str = LAUNCH_CODE) -> LaunchPayload:
    return LaunchPayload(api_url=server.url, attempt_id=ATTEMPT, launch_code=code, storage=str(storage))


def claim_through(server: ReportServer, payload: LaunchPayload) -> Claim:
    return claim(ApiClient(server.url, ATTEMPT), payload, threading.Event())


@pytest.fixture
def claimable(server: ReportServer, tmp_path: Path) -> ReportServer:
    server.claim = assignment_of(server, tmp_path).claim
    return server


def test_the_same_process_claims_again_when_its_answer_was_lost(claimable: ReportServer, tmp_path: Path) -> None:
    claimable.play([Fault.cut_before, Fault.busy, Fault.cut_after, Fault.garbage])
    assert claim_through(claimable, payload_of(claimable, tmp_path)) == claimable.claim
    assert claimable.requests == 5
    assert len({request.process_id for request in claimable.claims}) == 1


def test_the_second_process_is_refused_and_leaves_quietly(
    claimable: ReportServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    payload = payload_of(claimable, tmp_path)
    claim_through(claimable, payload)
    with pytest.raises(Refused, match="another process holds the attempt") as caught:
        claim_through(claimable, payload)
    assert _exit_status(caught.value, payload) == 0
    assert capsys.readouterr().err == ""


def test_a_wrong_code_ends_with_a_sentence(
    claimable: ReportServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    payload = payload_of(claimable, tmp_path, code="wrong")
    with pytest.raises(Refused) as caught:
        claim_through(claimable, payload)
    assert _exit_status(caught.value, payload) == 1
    assert capsys.readouterr().err == "The attempt could not be claimed: the token is not known\n"


def test_an_api_that_never_answers_is_given_up(
    claimable: ReportServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(trainer.main, "CLAIM_SECONDS", 0.2)
    payload = payload_of(claimable, tmp_path)
    claimable.down()
    with pytest.raises(Unreachable) as caught:
        claim_through(claimable, payload)
    assert _exit_status(caught.value, payload) == 1
    assert claimable.url in capsys.readouterr().err


def _exit_status(error: Exception, payload: LaunchPayload) -> int:
    claiming: Future[Claim] = Future()
    claiming.set_exception(error)
    return trainer.main._follow(claiming, None, payload, threading.Event())


def test_the_proof_is_what_the_storage_holds(claimable: ReportServer, tmp_path: Path) -> None:
    assert storage_proof(tmp_path) is None
    (tmp_path / ".basin-storage").write_text("proof\n")
    claim_through(claimable, payload_of(claimable, tmp_path))
    assert claimable.claims[0].storage_proof == "proof"


def test_the_proof_is_read_again_with_every_try(claimable: ReportServer, tmp_path: Path) -> None:
    class MountedWhileWaiting(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            (tmp_path / ".basin-storage").write_text("proof\n")
            return super().wait(timeout)

    claimable.play([Fault.busy])  # as the API answers while the storage is away for it too
    claim(ApiClient(claimable.url, ATTEMPT), payload_of(claimable, tmp_path), MountedWhileWaiting())
    assert claimable.requests == 2
    assert [request.storage_proof for request in claimable.claims] == ["proof"]


@pytest.mark.parametrize(
    ("launch", "said"),
    [
        (None, "BASIN_LAUNCH must hold what Basin's worker put there"),
        ('{"api_url": "http://127.0.0.1:1"}', "attempt_id: required"),
        (
            '{"api_url": "localhost", "attempt_id": "a", "launch_code": "c", "storage": "/s"}',
            "the API's address is 'localhost', must be http://HOST:PORT",
        ),
    ],
)
def test_a_start_by_hand_is_told_what_is_missing(launch: str | None, said: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "BASIN_LAUNCH"}
    if launch is not None:
        environment["BASIN_LAUNCH"] = launch
    ended = subprocess.run(
        [sys.executable, "-m", "trainer.main"], env=environment, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 2
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_driver_and_its_group_load_no_torch() -> None:
    program = (
        "import sys, trainer.main, trainer.worker_group, trainer.supervision; "
        "print(sorted({'torch', 'timm', 'numpy.f2py', 'sklearn'} & set(sys.modules)))"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=True)
    assert ended.stdout.strip() == "[]"
