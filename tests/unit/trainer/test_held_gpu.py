"""A rank waits for a GPU that another process still holds, and says whose fault it is when it waited in vain."""

from __future__ import annotations

import pytest
import torch

from trainer import held_gpu
from trainer.contract.ends import ENDS, EndReason
from trainer.errors import TrainerError
from trainer.held_gpu import HELD_BYTES, wait_until_free

GPU = torch.device("cuda", 0)


@pytest.fixture(autouse=True)
def _without_pauses(monkeypatch):
    monkeypatch.setattr(held_gpu, "LOOK_SECONDS", 0.0)


def a_gpu_with(*readings: float):
    """Its used bytes, one reading after another; the last for ever."""
    left = list(readings)

    def used_bytes(device: torch.device) -> float:
        assert device == GPU
        return left.pop(0) if len(left) > 1 else left[0]

    used_bytes.left = left
    return used_bytes


def test_a_free_one_is_taken_at_once():
    used = a_gpu_with(HELD_BYTES - 1, 2**40)
    wait_until_free(GPU, patience_seconds=60, used_bytes=used)
    assert used.left == [2**40], "one look"


def test_one_that_is_being_freed_is_waited_for(caplog):
    used = a_gpu_with(2**36, 2**35, 2**34, 0)
    wait_until_free(GPU, patience_seconds=60, used_bytes=used)
    assert used.left == [0]
    assert [record.message for record in caplog.records] == [
        "64.0 GiB of the GPU are in use by another process: waiting for it to end."
    ]


def test_one_that_stays_held_is_no_fault_of_the_spec():
    with pytest.raises(TrainerError, match=r"^3\.0 GiB of the GPU .* after 0 s: `nvidia-smi` there names") as caught:
        wait_until_free(GPU, patience_seconds=0.01, used_bytes=a_gpu_with(3 * 2**30))
    assert caught.value.reason is EndReason.gpu_held
    assert (ENDS[EndReason.gpu_held].retryable, ENDS[EndReason.gpu_held].fault) == (True, "infrastructure")


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks a machine without a GPU")
def test_where_nvml_tells_nothing_nobody_waits(caplog):
    """The real functions, on this machine."""
    caplog.set_level("INFO")
    wait_until_free(GPU, patience_seconds=60)
    assert caplog.records[0].message.startswith("Whether the GPU is free is not known")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_memory_that_another_process_would_hold_is_seen():
    """What the real functions say is what torch has taken."""
    before = torch.cuda.device_memory_used(GPU)
    kept = torch.empty(HELD_BYTES, dtype=torch.uint8, device=GPU)
    torch.cuda.synchronize()
    assert torch.cuda.device_memory_used(GPU) - before >= HELD_BYTES
    with pytest.raises(TrainerError, match="were in use before"):
        wait_until_free(GPU, patience_seconds=0)
    del kept
