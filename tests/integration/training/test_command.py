"""`python -m trainer` as people start it: a process, its output, its exit code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest
import yaml

TIMEOUT_SECONDS = 180


@pytest.fixture
def command(tmp_path):
    def start(*arguments: str, **options):
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **options}  # the reference below uses one thread, too
        return subprocess.Popen(
            [sys.executable, "-m", "trainer", *arguments], cwd=tmp_path, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment,
        )  # fmt: skip

    return start


def finished(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    try:
        out, err = process.communicate(timeout=TIMEOUT_SECONDS)
    finally:
        process.kill()
        process.wait()
    assert "Traceback" not in err
    return process.returncode, out, err


@pytest.fixture
def spec_file(tmp_path, small_spec):
    def write(name: str = "small.yaml", **changes):
        path = tmp_path / name
        document = small_spec(**changes).model_dump(mode="json")
        path.write_text(yaml.safe_dump(document) if path.suffix == ".yaml" else json.dumps(document))
        return path

    return write


def test_ctrl_c_saves_and_resume_ends_as_if_undisturbed(command, spec_file, tmp_path, run, small_spec):
    changes = {"method": {"name": "looksam"}, "steps": 600, "checkpoint": {"every_steps": 100_000}}
    path = spec_file(**changes)
    process = command("--spec", str(path), "--json")
    events = []
    for line in process.stdout:
        events.append(json.loads(line))
        if events[-1]["event"] == "progress" and events[-1]["step"] == 40:
            process.send_signal(signal.SIGINT)
            break
    code, out, err = finished(process)
    events += [json.loads(line) for line in out.splitlines()]
    assert code == 130, err
    assert events[-1]["event"] == "ended"
    assert events[-1]["reason"] == "cancelled_by_user"
    stopped_at = events[-1]["step"]
    assert 40 <= stopped_at < 600
    assert [event["step"] for event in events if event["event"] == "checkpoint"] == [stopped_at]
    assert sum(event["event"] == "first_step" for event in events) == 1

    code, _, err = finished(command("--spec", str(path)))
    assert (code, err.count("\n")) == (2, 1)
    assert f"holds a run up to step {stopped_at}: add --resume" in err

    code, out, err = finished(command("--spec", str(path), "--resume"))
    assert code == 0, err
    assert "Trained 600 steps. 720 gradient evaluations." in out
    assert "%" in out
    from trainer import checkpoint

    ours = checkpoint.read(checkpoint.folder_of(tmp_path / "runs" / "small", 600))
    expected = run(small_spec(**changes)).saved()
    import torch

    assert all(torch.equal(ours.model[name], value) for name, value in expected.model.items())


def test_mistakes_are_one_line_each(command, spec_file, tmp_path):
    """Started together, since each pays for its imports."""
    bad_model = spec_file("model.json")
    document = json.loads(bad_model.read_text())
    document["model"]["arguments"]["dpth"] = 3
    bad_model.write_text(json.dumps(document))
    unknown = tmp_path / "unknown.yaml"
    unknown.write_text(yaml.safe_dump({**document, "lr": 1, "optimizer": {"name": "adamw", "lr": -1}}))
    (tmp_path / "broken.yaml").write_text("a: [1")
    (tmp_path / "list.yaml").write_text("[1]")
    gpu = spec_file("gpu.json", resources={"workers": 1, "gpus_per_worker": 1})
    expected = {
        str(bad_model): (1, ["model.arguments.dpth is 3: vit_tiny_patch16_224 has no such argument. Remove it."]),
        str(unknown): (2, ["optimizer.lr is -1", "lr is 1: no such field"]),
        str(tmp_path / "missing.yaml"): (2, ["cannot be read (No such file or directory)"]),
        str(tmp_path / "broken.yaml"): (2, ["is neither YAML nor JSON"]),
        str(tmp_path / "list.yaml"): (2, ["must hold the fields of a training spec, holds list"]),
        str(gpu): (1, ["resources.gpus_per_worker is 1: process 0 of this machine needs a GPU, torch sees 0"]),
    }
    for path, (code, parts) in expected.items():
        found, _, err = finished(command("--spec", path, "--json", CUDA_VISIBLE_DEVICES=""))
        assert found == code, err
        lines = err.strip().splitlines()
        assert len(lines) == len(parts), err
        assert all(any(part in line for line in lines) for part in parts), err


def test_the_same_ctrl_c_twice_still_saves(command, spec_file):
    """As under torchrun, where a worker hears it from the terminal and from torchrun."""
    process = command("--spec", str(spec_file(steps=1_000_000)), "--json")
    for line in process.stdout:
        if json.loads(line)["event"] == "first_step":
            break
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGTERM)
    code, out, _ = finished(process)
    assert code == 130
    assert '"event": "checkpoint"' in out
