"""Where each rank is, counted by its passes and the collectives it has entered and left: who holds up the others."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from trainer.group_messages import Beats
from trainer.parallel import World


@dataclass(frozen=True, kw_only=True)
class WatchedWorld(World):
    """A world that counts."""

    beats: Beats = field(default_factory=Beats)

    def passed(self) -> None:
        self.beats.passes += 1

    def sum_(self, tensor: Tensor) -> Tensor:
        self.beats.entered += 1
        super().sum_(tensor)
        self.beats.left += 1
        return tensor

    def from_first_(self, tensor: Tensor) -> Tensor:
        self.beats.entered += 1
        super().from_first_(tensor)
        self.beats.left += 1
        return tensor
