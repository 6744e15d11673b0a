"""Where a step's time goes: each moment counts once, in the innermost phase; a GPU's clock is read late."""

from __future__ import annotations

import pytest
import torch

from trainer import step_clock
from trainer.contract.metrics import PHASES
from trainer.step_clock import StepClock

NAMES = [f"{phase}_seconds" for phase in PHASES]


class Time:
    """A host's clock that moves when it is told to; fake events take it as the device's."""

    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now

    def passes(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def time(monkeypatch) -> Time:
    time = Time()
    monkeypatch.setattr(step_clock, "time", time)
    return time


def a_refresh(clock: StepClock, time: Time) -> None:
    """16 + 8 + 4 + 2 + 1 seconds, so that a sum says what is in it."""
    with clock:
        with clock.phase("data"):
            time.passes(1)
        with clock.phase("forward_backward"):
            time.passes(2)
        time.passes(16)
        with clock.phase("ascent"):
            time.passes(3)
            with clock.phase("communication"):
                time.passes(4)
            with clock.phase("ascent"):
                time.passes(5)


EXPECTED = {"data": 1.0, "forward_backward": 2.0, "communication": 4.0, "ascent": 8.0, "optimizer": 16.0}
EXPECTED = {f"{phase}_seconds": seconds for phase, seconds in EXPECTED.items()}


class TestOnACpu:
    def test_each_moment_counts_once_in_the_innermost_phase(self, time):
        clock = StepClock()
        a_refresh(clock, time)
        assert clock.since_last() == EXPECTED

    def test_means_are_over_the_steps_since_the_last_call(self, time):
        clock = StepClock()
        a_refresh(clock, time)
        clock.since_last()
        a_refresh(clock, time)
        with clock:
            time.passes(4)
        means = clock.since_last()
        assert means["optimizer_seconds"] == 10.0
        assert means["ascent_seconds"] == 4.0
        assert clock.since_last() == {}

    def test_nothing_is_counted_between_steps(self, time):
        clock = StepClock()
        a_refresh(clock, time)
        with clock.phase("communication"):  # of a validation
            time.passes(50)
        time.passes(50)
        assert clock.since_last() == EXPECTED

    def test_an_error_closes_its_phases(self, time):
        clock = StepClock()

        def fails() -> None:
            with clock, clock.phase("ascent"):
                time.passes(3)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fails()
        time.passes(50)
        a_refresh(clock, time)
        assert clock.since_last()["ascent_seconds"] == (3 + 8) / 2


class Device:
    """A stream that is behind the host: an event gets its time when the stream comes to it."""

    def __init__(self, time: Time) -> None:
        self._time, self._waiting, self.made, self.waits = time, [], 0, 0

    def event(self, *, enable_timing: bool) -> Event:
        assert enable_timing
        self.made += 1
        return Event(self)

    def record(self, event: Event) -> None:
        event.at = None
        self._waiting.append((event, self._time.now))

    def catches_up(self, leave: int = 0) -> None:
        while len(self._waiting) > leave:
            event, event.at = self._waiting.pop(0)


class Event:
    """As torch.cuda.Event."""

    def __init__(self, device: Device) -> None:
        self._device, self.at = device, None

    def record(self) -> None:
        self._device.record(self)

    def query(self) -> bool:
        return self.at is not None

    def synchronize(self) -> None:
        self._device.waits += 1
        self._device.catches_up()

    def elapsed_time(self, end: Event) -> float:
        assert self.at is not None
        assert end.at is not None, "torch raises where an event has not passed"
        return 1e3 * (end.at - self.at)


class TestOnAGpu:
    @pytest.fixture
    def device(self, time, monkeypatch) -> Device:
        device = Device(time)
        monkeypatch.setattr(torch.cuda, "Event", device.event)
        return device

    def test_says_the_same_and_waits_only_when_it_is_asked(self, time, device):
        clock = StepClock("cuda")
        a_refresh(clock, time)
        time.passes(50)
        a_refresh(clock, time)
        assert device.waits == 0
        assert clock.since_last() == EXPECTED
        assert device.waits == 1

    def test_a_step_that_the_device_has_not_left_is_not_lost(self, time, device):
        clock = StepClock("cuda")
        for leave in (3, 1, 2, 0):
            a_refresh(clock, time)
            device.catches_up(leave)
        assert clock.since_last() == EXPECTED

    def test_events_are_used_again(self, time, device):
        clock = StepClock("cuda")
        for _ in range(100):
            a_refresh(clock, time)
            device.catches_up()
        # One step's worth, and that of the next, which begins before anybody has looked again.
        assert device.made <= 2 * 12


METHODS = [{"name": "none"}, {"name": "looksam", "k": 3}, {"name": "sam", "perturbation": "per_microbatch"}]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method["name"])
def test_a_runs_phases_add_up_to_no_more_than_its_steps(run, small_spec, method):
    spec = small_spec(method=method, micro_batch_size=16, ema_decay=0.9, clip_norm=1.0)
    for values in run(spec).recorder.points.values():
        if "step_seconds" in values:
            phases = [values[name] for name in NAMES]
            # Both are means of differences of one clock's readings, of some 1e5 s at 1e-16: a few 1e-11 s each.
            assert 0 < sum(phases) <= values["step_seconds"] + 1e-9
            assert all(seconds > 0 for name, seconds in zip(NAMES, phases, strict=True) if name != "ascent_seconds")
            if method["name"] == "none":
                assert values["ascent_seconds"] == 0.0
    assert (values["ascent_seconds"] > 0) == (method["name"] != "none")
