"""The most memory of a run: what Linux counted, what torch counted on a GPU, and nothing elsewhere."""

from __future__ import annotations

import sys

import pytest
import torch

from trainer.memory import PeakMemory

CPU = torch.device("cpu")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_on_a_cpu_it_is_the_process_and_keeps_its_peak(run, small_spec):
    memory = PeakMemory(CPU)
    before = memory.since_last()["memory_bytes"]
    ballast = torch.ones(2**26)  # 256 MiB, written to, so that they are resident
    peak = memory.since_last()["memory_bytes"]
    assert peak >= ballast.numel() * ballast.element_size()
    del ballast
    # Linux adds up pages in batches, one of each processor: the count may be some 100 KB off, of 256 MiB and more.
    assert memory.since_last()["memory_bytes"] >= 0.99 * peak >= 0.98 * before
    assert run(small_spec()).outcome.numbers["memory_bytes"] >= 0.99 * peak


def test_without_such_a_count_there_is_no_number(tmp_path):
    assert PeakMemory(CPU, tmp_path / "status").since_last() == {}
    (tmp_path / "status").write_text("Name:\tpython\nVmRSS:\t  10 kB\n")
    assert PeakMemory(CPU, tmp_path / "status").since_last() == {}
    (tmp_path / "status").write_text("Name:\tpython\nVmHWM:\t  10 kB\n")
    assert PeakMemory(CPU, tmp_path / "status").since_last() == {"memory_bytes": 10240.0}


def test_on_a_gpu_the_count_begins_anew_each_time(monkeypatch):
    asked = []
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: asked.append("most") or 7)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: asked.append("reset"))
    assert PeakMemory(torch.device("cuda", 0)).since_last() == {"memory_bytes": 7.0}
    assert asked == ["most", "reset"]
