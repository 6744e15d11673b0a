"""Where the time of a training step goes: told apart by phase, read late, so that nobody waits for a clock.

A step is at each moment in one phase, the innermost that is open; what no phase claims is the optimizer's (the method's
arithmetic, clipping, the base optimizer, the average of the weights). So the phases of a step add up to the step, and
an all-reduce inside an ascent is communication, once.

On a CPU the clock is the host's. On a GPU it is the stream's: an event is recorded at each change of phase and read
when it has passed. Host time would say how long launching takes, not what the step waits for; a wait for images that
the device does not notice, because it still has work, costs nothing and is not counted.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from trainer.contract.metrics import PHASES, Phase


class StepClock:
    """Runs inside training steps (`with`)."""

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self._marks = _StreamMarks() if torch.device(device).type == "cuda" else None
        self._seconds: dict[Phase, float] = dict.fromkeys(PHASES, 0.0)
        self._steps = 0
        self._open: Phase | None = None
        self._since = 0.0

    def __enter__(self) -> None:
        self._steps += 1
        self._change("optimizer")

    def __exit__(self, *error: object) -> None:
        self._change(None)
        if self._marks is not None:
            self._marks.add_up(self._seconds, everything=False)

    @contextmanager
    def phase(self, phase: Phase) -> Iterator[None]:
        """Counts as `phase` what no phase inside it claims; outside of a step nothing is counted."""
        before = self._open
        if before is None or before == phase:
            yield
            return
        self._change(phase)
        try:
            yield
        finally:
            self._change(before)

    def since_last(self) -> dict[str, float]:
        """Mean seconds a step of each phase since the last call, named as in the metric catalogue; {} without steps.

        On a GPU it waits for the last step's end.
        """
        if self._marks is not None:
            self._marks.add_up(self._seconds, everything=True)
        means = {f"{phase}_seconds": seconds / self._steps for phase, seconds in self._seconds.items() if self._steps}
        self._seconds, self._steps = dict.fromkeys(PHASES, 0.0), 0
        return means

    def _change(self, phase: Phase | None) -> None:
        if self._marks is not None:
            self._marks.record(phase)
        else:
            now = time.perf_counter()
            if self._open is not None:
                self._seconds[self._open] += now - self._since
            self._since = now
        self._open = phase


class _StreamMarks:
    """Events on the current stream, each with the phase that begins there; used again once they are read."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[torch.cuda.Event, Phase | None]] = deque()
        self._spare: list[torch.cuda.Event] = []

    def record(self, phase: Phase | None) -> None:
        event = self._spare.pop() if self._spare else torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        self._waiting.append((event, phase))

    def add_up(self, seconds: dict[Phase, float], *, everything: bool) -> None:
        """Adds the phases that the device has left; all of them where `everything`, which waits for it."""
        if everything and self._waiting:
            self._waiting[-1][0].synchronize()
        while len(self._waiting) > 1 and self._waiting[1][0].query():  # type: ignore[no-untyped-call]
            event, phase = self._waiting.popleft()
            if phase is not None:
                seconds[phase] += event.elapsed_time(self._waiting[0][0]) / 1e3
            self._spare.append(event)
