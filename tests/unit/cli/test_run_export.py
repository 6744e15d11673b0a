"""Which checkpoint `basin run export` takes, and what it says where this machine sees none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli import part_process
from cli.failure import ExitCode, Failure
from cli.main import app
from cli.run_export import exported, newest_checkpoint
from cli.views import Checkpoints, RunView

RUN = RunView.model_validate(
    {"id": "ab12", "name": "n", "status": "failed", "step": 7, "created_at": "2026-01-01T00:00:00Z"}
)


class Answering:
    """A client whose API knows these checkpoints."""

    def __init__(self, storage: Path, *steps: int) -> None:
        items = [{"step": step, "path": f"runs/ab12/checkpoints/step-{step:08d}"} for step in steps]
        self._answer = Checkpoints.model_validate({"storage": str(storage), "items": items})

    def checkpoints(self, run_id: str) -> Checkpoints:
        assert run_id == "ab12"
        return self._answer


def test_the_newest_that_is_whole_here_is_taken(tmp_path: Path) -> None:
    for step in (10, 20, 30):
        folder = tmp_path / f"runs/ab12/checkpoints/step-{step:08d}"
        folder.mkdir(parents=True)
        if step < 30:
            (folder / "manifest.json").touch()
    found = newest_checkpoint(Answering(tmp_path, 40, 30, 20, 10), RUN)  # type: ignore[arg-type]
    assert found.name == "step-00000020"


def test_storage_that_is_not_seen_here_is_named_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(Failure) as caught:
        newest_checkpoint(Answering(tmp_path / "there", 20, 10), RUN)  # type: ignore[arg-type]
    assert caught.value.exit_code is ExitCode.refused
    assert f"is {tmp_path}/there/runs/ab12/checkpoints/step-00000020 on the API's machine" in caught.value.sentence
    assert "python -m trainer.export --checkpoint" in caught.value.sentence


def test_a_run_without_a_checkpoint_is_said(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="run ab12 has no checkpoint: it is failed at step 7"):
        newest_checkpoint(Answering(tmp_path), RUN)  # type: ignore[arg-type]


def fake_trainer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str) -> str:
    (tmp_path / "spoken.py").write_text(program)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return "spoken"


class TestTrainerProcess:
    def test_a_refusal_is_a_failure_with_its_sentence(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        refusal = json.dumps({"event": "refused", "sentence": "no such thing."})
        module = fake_trainer(tmp_path, monkeypatch, f"print('{refusal}'); raise SystemExit(2)")
        with pytest.raises(Failure, match="no such thing") as caught:
            list(part_process.messages(module, []))
        assert caught.value.exit_code is ExitCode.refused

    def test_what_has_said_its_last_is_left_to_end(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        struck, left = tmp_path / "struck", tmp_path / "left"
        leaving = f"""
import atexit, pathlib, signal, time
signal.signal(signal.SIGTERM, lambda *_: pathlib.Path({str(struck)!r}).touch())
atexit.register(lambda: (time.sleep(1), pathlib.Path({str(left)!r}).touch()))
print('{{"event": "refused", "sentence": "no."}}', flush=True)
"""
        with pytest.raises(Failure, match="no"):
            list(part_process.messages(fake_trainer(tmp_path, monkeypatch, leaving), []))
        assert (left.exists(), struck.exists()) == (True, False)

    def test_an_interruption_is_one_for_whoever_waits(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        module = fake_trainer(tmp_path, monkeypatch, "raise SystemExit(130)")
        with pytest.raises(Failure, match="was interrupted") as caught:
            list(part_process.messages(module, []))
        assert caught.value.exit_code is ExitCode.interrupted

    def test_an_export_that_says_nothing_is_a_failure(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("cli.run_export.messages", lambda module, arguments: iter(()))
        with pytest.raises(Failure, match=r"`python -m trainer\.export` ended without an answer"):
            exported(tmp_path, "to", onnx=False, force=False, run=RUN)

    @pytest.mark.parametrize(("code", "is_failure"), [(0, False), (1, False), (3, True), (-9, True)])
    def test_an_end_that_no_message_explains_is_a_failure(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, is_failure: bool
    ) -> None:
        end = f"os._exit({code})" if code >= 0 else "os.kill(os.getpid(), 9)"
        module = fake_trainer(tmp_path, monkeypatch, f'import os\nprint(\'{{"event": "x"}}\', flush=True)\n{end}')
        seen = []
        try:
            for message in part_process.messages(module, []):
                seen.append(message)  # noqa: PERF402 - what came before the failure counts too
        except Failure:
            assert is_failure
        else:
            assert not is_failure
        assert seen == [{"event": "x"}]


class TestPredict:
    def says(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[int, str, str]:
        said = [
            {"event": "prediction", "path": "a[b].png",
             "classes": [{"label": 1, "name": "[red] cat", "probability": 0.75},
                         {"label": 0, "name": "dog", "probability": 0.25}]},
            {"event": "unreadable", "path": "c.png", "why": "is damaged (x)"},
            {"event": "progress", "done": 2, "total": 2},
        ]  # fmt: skip
        monkeypatch.setattr("cli.predict_command.messages", lambda module, arguments: iter(said))
        done = CliRunner().invoke(app, ["predict", str(tmp_path), "images", *arguments])
        return done.exit_code, done.stdout, done.stderr

    def test_a_table_for_people(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        code, out, err = self.says(tmp_path, monkeypatch)
        assert code == 1
        rows = [line.split() for line in out.splitlines()]
        assert rows == [["image", "class", "probability"], ["a[b].png", "[red]", "cat", "75.0%"], ["dog", "25.0%"]]
        assert "basin: c.png is damaged (x)" in err

    def test_a_line_an_image_for_programs(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        code, out, _ = self.says(tmp_path, monkeypatch, "--json")
        first, second = (json.loads(line) for line in out.splitlines())
        assert code == 1
        assert (first["path"], first["classes"][0]["name"]) == ("a[b].png", "[red] cat")
        assert second == {"path": "c.png", "why": "is damaged (x)"}
