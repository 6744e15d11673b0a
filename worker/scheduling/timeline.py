"""How many slots of one kind are free from now on, if everything ends when it is expected to."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from itertools import accumulate


class Timeline:
    """A step function of time: `free[i]` slots in [times[i], times[i + 1]), the last of them for ever."""

    def __init__(self, free_now: int) -> None:
        self.times = [0.0]
        self.free = [free_now]
        self._lowest = [free_now]

    def take(self, start: float, end: float, slots: int) -> None:
        """Takes slots (gives them, where negative) in [start, end); `end` may be infinite."""
        if end <= start:
            return
        first = self._cut(start)
        last = self._cut(end) if end < math.inf else len(self.times)
        for index in range(first, last):
            self.free[index] -= slots
        self._lowest = list(accumulate(self.free, min))

    def withhold(self, slots: int) -> None:
        """Takes so many slots, or all there are, at every time: for a run that starts nobody knows when."""
        self.free = [max(0, free - slots) for free in self.free]
        self._lowest = list(accumulate(self.free, min))

    def room(self, seconds: float) -> int:
        """The slots that are free all the time from now for so long, > 0."""
        return self._lowest[bisect_left(self.times, seconds) - 1]

    def room_from(self, start: float, seconds: float) -> int:
        """The slots that are free all the time from `start` for so long, > 0."""
        first = bisect_right(self.times, start) - 1
        return min(self.free[first : bisect_left(self.times, start + seconds)])

    def copy(self) -> Timeline:
        other = Timeline(0)
        other.times, other.free, other._lowest = list(self.times), list(self.free), list(self._lowest)
        return other

    def earliest(self, slots: int, seconds: float) -> float | None:
        """When so many slots are first free for so long. Null: never, as far as ends are known."""
        start: float | None = None
        for index, free in enumerate(self.free):
            if free < slots:
                start = None
                continue
            if start is None:
                start = self.times[index]
            if index + 1 < len(self.times) and self.times[index + 1] >= start + seconds:
                return start
        return start

    def _cut(self, at: float) -> int:
        """The index of the step that begins at `at`, which is made where there is none."""
        index = bisect_right(self.times, at) - 1
        if self.times[index] == at:
            return index
        self.times.insert(index + 1, at)
        self.free.insert(index + 1, self.free[index])
        return index + 1
