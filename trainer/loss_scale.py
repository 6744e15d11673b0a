"""The factor on the loss that keeps small float16 gradients from vanishing.

A step whose loss or gradient is not finite is taken again with half the factor; after many good ones it is doubled. In
all other precisions the factor is 1, and a number that is not finite ends the run.
"""

from __future__ import annotations

from dataclasses import dataclass

START = 65_536.0
GROWTH_STEPS = 2_000
"""Good steps in a row after which the factor doubles, as torch's GradScaler has it."""
LOWEST, HIGHEST = 1.0, 2.0**24


@dataclass
class LossScale:
    """A power of two, so that scaling and unscaling round nothing."""

    factor: float = 1.0
    good_steps: int = 0
    """In a row since the factor last changed."""
    moves: bool = False
    """Whether the factor follows the steps; then the host must know at once whether a step was finite."""

    @classmethod
    def of(cls, precision: str) -> LossScale:
        return cls(factor=START, moves=True) if precision == "fp16" else cls()

    def applied(self) -> None:
        """A step was finite and moved the weights."""
        self.good_steps += 1
        if self.moves and self.good_steps >= GROWTH_STEPS and self.factor < HIGHEST:
            self.factor, self.good_steps = self.factor * 2, 0

    def skipped(self) -> bool:
        """A step was not finite; False where the factor cannot be lowered any further."""
        self.factor, self.good_steps = self.factor / 2, 0
        return self.factor >= LOWEST
