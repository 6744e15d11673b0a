"""CPU-seconds of training steps: what they count, and over which attempts."""

from __future__ import annotations

import time
from itertools import pairwise

import torch

from trainer import checkpoint, loop


def test_they_grow_with_every_point_and_stay_below_the_process(run, small_spec):
    started = time.process_time()
    result = run(small_spec(method={"name": "sam"}, logging={"every_steps": 1}))
    spent = time.process_time() - started
    values = [point["cpu_seconds"] for point in result.recorder.points.values()]
    assert len(values) == 12
    assert values[0] > 0
    assert all(a < b for a, b in pairwise(values))
    assert values[-1] < spent
    assert result.outcome.numbers["cpu_seconds"] == values[-1] == result.saved().cpu_seconds


def test_they_leave_out_what_is_not_a_step(run, small_spec, monkeypatch):
    validate = loop.validate

    def slow(*arguments):
        until = time.process_time() + 0.5
        while time.process_time() < until:
            pass
        return validate(*arguments)

    monkeypatch.setattr(loop, "validate", slow)
    whole = run(small_spec(steps=12))  # validates after steps 4, 7, 10 and 12
    assert whole.outcome.numbers["seconds"] > 2.0
    assert whole.outcome.numbers["cpu_seconds"] < 2.0, "12 steps of about 3 ms"


def test_they_go_on_where_a_checkpoint_left_them(run, small_spec):
    spec = small_spec(checkpoint={"every_steps": 6, "keep": 3})
    whole = run(spec)
    path = checkpoint.folder_of(whole.folder, 6)
    before = checkpoint.read(path).cpu_seconds
    assert 0 < before < whole.outcome.numbers["cpu_seconds"]
    saved = torch.load(path / "state.pt", weights_only=True)
    saved["cpu_seconds"] = 1000.0
    elsewhere = whole.folder.parent / "counted"
    checkpoint.save(checkpoint.Saved(**saved), elsewhere, before_rename=lambda step, folder: None)
    again = run(spec, resume=[checkpoint.folder_of(elsewhere, 6)])
    assert 1000.0 < again.outcome.numbers["cpu_seconds"] < 1100.0


def test_a_checkpoint_older_than_they_are_is_read(run, small_spec, tmp_path):
    whole = run(small_spec())
    saved = torch.load(checkpoint.folder_of(whole.folder, 12) / "state.pt", weights_only=True)
    del saved["cpu_seconds"]
    torch.save(saved, tmp_path / "state.pt")
    assert checkpoint.read(tmp_path).cpu_seconds == 0.0
