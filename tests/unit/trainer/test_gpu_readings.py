"""Readings of every rank's GPU reach rank 0 with the gradient; what NVML does not say is left out."""

from __future__ import annotations

import pytest
import torch

from trainer.contract.metrics import BY_NAME
from trainer.gpu_readings import MAX_RANKS_TOLD, NVML, READINGS, GpuReadings
from trainer.parallel import World

GPU = torch.device("cuda", 0)


class NVMLError(Exception):
    """As pynvml's: no RuntimeError."""


def a_gpu(utilization: float, used: float, watts: float):
    """NVML of one GPU: its three functions take a device."""
    return tuple(lambda device, value=value: value for value in (utilization, used, watts))


def refuses(error: Exception):
    def ask(device: torch.device) -> float:
        ask.calls += 1
        raise error

    ask.calls = 0
    return ask


def told_by(gpus) -> dict[str, float]:
    """All ranks take and send; their buffers are summed as the all-reduce would; rank 0 tells."""
    ranks = [GpuReadings(World(rank=rank, size=len(gpus), device=GPU), nvml) for rank, nvml in enumerate(gpus)]
    buffers = [torch.zeros(each.num_scalars) for each in ranks]
    for each, buffer in zip(ranks, buffers, strict=True):
        each.take()
        each.send(buffer)
    for each in ranks:
        each.received(torch.stack(buffers).sum(0).double())
    told = ranks[0].told()
    assert ranks[0].told() == {}, "each reading is told once"
    return told


def test_of_all_ranks_and_of_each():
    told = told_by([a_gpu(90, 2**36, 400.5), a_gpu(70, 2**35, 300.25)])
    assert told == {
        "gpu_utilization": 80, "gpu_utilization/rank0": 90, "gpu_utilization/rank1": 70,
        "gpu_memory_bytes": 2**36, "gpu_memory_bytes/rank0": 2**36, "gpu_memory_bytes/rank1": 2**35,
        "gpu_watts": 700.75, "gpu_watts/rank0": 400.5, "gpu_watts/rank1": 300.25,
    }  # fmt: skip
    assert set(READINGS) <= BY_NAME.keys()


def test_an_idle_gpu_is_not_an_absent_one():
    assert told_by([a_gpu(0, 0, 0)])["gpu_utilization/rank0"] == 0


def test_what_nvml_does_not_say_is_left_out_and_not_asked_again():
    refused = refuses(NVMLError("Not Supported"))  # as a slice of a GPU (MIG) says of its utilisation
    told = told_by([(refused, *a_gpu(1, 5, 6)[1:]), a_gpu(70, 8, 7)])
    assert told["gpu_utilization"] == told["gpu_utilization/rank1"] == 70
    assert "gpu_utilization/rank0" not in told
    assert told["gpu_memory_bytes"] == 8
    readings = GpuReadings(World(rank=0, size=1, device=GPU), (refused,) * 3)
    before = refused.calls
    for _ in range(5):
        readings.take()
    assert refused.calls == before + 3


@pytest.mark.parametrize("error", [ModuleNotFoundError("nvidia-ml-py"), RuntimeError("driver"), NVMLError("lost")])
def test_without_nvml_there_is_nothing(error):
    assert told_by([(refuses(error),) * 3]) == {}


def test_many_ranks_are_told_together_and_the_first_ones_alone():
    told = told_by([a_gpu(50, 1, 2)] * (MAX_RANKS_TOLD + 8))
    assert told["gpu_watts"] == 2 * (MAX_RANKS_TOLD + 8)
    assert f"gpu_watts/rank{MAX_RANKS_TOLD - 1}" in told
    assert f"gpu_watts/rank{MAX_RANKS_TOLD}" not in told


def test_a_step_that_takes_none_sends_none():
    readings = GpuReadings(World(rank=0, size=1, device=GPU), a_gpu(1, 2, 3))
    buffer = torch.zeros(readings.num_scalars)
    readings.send(buffer)
    readings.received(buffer)
    assert not buffer.any()
    assert readings.told() == {}


def test_on_a_cpu_they_take_no_room(run, small_spec):
    assert GpuReadings(World.single()).num_scalars == 0
    assert not set(READINGS) & run(small_spec()).outcome.numbers.keys()


def test_a_run_tells_them_where_it_logs(run, small_spec, monkeypatch):
    """A CPU that says it is a GPU to this module alone."""
    from trainer import loop

    class OnACpu(GpuReadings):
        def __init__(self, world: World) -> None:
            super().__init__(World(rank=world.rank, size=world.size, device=GPU), a_gpu(90, 2**30, 350))

    plain = run(small_spec(method={"name": "looksam"}))
    monkeypatch.setattr(loop, "GpuReadings", OnACpu)
    result = run(small_spec(method={"name": "looksam"}))
    points = result.recorder.points
    assert [step for step, values in points.items() if "gpu_watts/rank0" in values] == [1, 3, 6, 9, 12]
    assert points[6]["gpu_utilization"] == 90
    assert points[6]["gpu_memory_bytes"] == 2**30
    # They travel beside the gradient and change nothing of it.
    assert result.deterministic_points == plain.deterministic_points
    assert all(torch.equal(result.weights[name], value) for name, value in plain.weights.items())


def test_torchs_own_functions_are_asked():
    """Without a GPU or the package they raise something, which is all that can be seen here."""
    if torch.cuda.is_available():
        pytest.skip("there is a GPU: they may answer")
    readings = GpuReadings(World(rank=0, size=1, device=GPU), NVML)
    readings.take()
    buffer = torch.zeros(3)
    readings.send(buffer)
    readings.received(buffer)
    assert readings.told() == {}
