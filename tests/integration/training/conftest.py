"""Training in processes of its own: two gloo ranks, and `python -m trainer`. The small specs are the unit tests'."""

from __future__ import annotations

from tests.unit.trainer.conftest import _leave_torch_as_it_was, run, small_spec

__all__ = ["_leave_torch_as_it_was", "run", "small_spec"]
