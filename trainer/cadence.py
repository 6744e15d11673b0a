"""When numbers are reported, the model is validated and the state is saved: functions of the step alone.

So a run that was killed and resumed reports at the same steps as one that was not. `done` is steps completed, from 1.
"""

from __future__ import annotations

from dataclasses import dataclass

from trainer.contract.methods import NoMethod
from trainer.contract.spec import TrainingSpec


@dataclass(frozen=True)
class Cadence:
    spec: TrainingSpec
    train_images: int

    @property
    def total_steps(self) -> int:
        return self.spec.total_steps(self.train_images)

    def epoch(self, done: int) -> float:
        """Passes over the training set after `done` steps."""
        return done * self.spec.global_batch_size / self.train_images

    def logs(self, done: int) -> bool:
        return done == 1 or done % self.spec.logging.every_steps == 0 or done == self.total_steps

    def shows_signals(self, done: int) -> bool:
        """Of the refreshes, the first in each stretch of `logging.every_steps` steps shows the method's signals."""
        method = self.spec.method
        k, start = (1, 0) if isinstance(method, NoMethod) else (method.k, method.start_step)
        every = self.spec.logging.every_steps
        return done <= start + k or done // every != (done - k) // every or done == self.total_steps

    def validates(self, done: int) -> bool:
        """Where the step's end crosses a multiple of `every_epochs` epochs, in whole images."""
        images = self.train_images * self.spec.evaluation.every_epochs
        seen = done * self.spec.global_batch_size
        return seen // images > (seen - self.spec.global_batch_size) // images or done == self.total_steps

    def saves(self, done: int) -> bool:
        return done % self.spec.checkpoint.every_steps == 0 or done == self.total_steps
