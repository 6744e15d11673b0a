"""Bytes of live tensors, counted: what an arm keeps between steps, and the most that is alive within one."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


def kept_bytes() -> int:
    """Of all tensors' storages that are alive now, each counted once."""
    gc.collect()
    storages = {}
    for found in gc.get_objects():
        if issubclass(type(found), Tensor):
            storage = found.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
            if found.grad is not None:
                storage = found.grad.untyped_storage()
                storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())


class Peak(TorchDispatchMode):
    """Follows the storages that operations make: `now` and `most`, in bytes, beyond what was there before."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._alive: set[int] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        given = {tensor.untyped_storage()._cdata for tensor in _tensors_in((args, kwargs or {}))}
        for tensor in _tensors_in(result):
            storage = tensor.untyped_storage()
            if storage._cdata not in given and storage._cdata not in self._alive:
                self._alive.add(storage._cdata)
                self.now += storage.nbytes()
                self.most = max(self.most, self.now)
                weakref.finalize(storage, self._gone, storage._cdata, storage.nbytes())
        return result

    def _gone(self, key: int, size: int) -> None:
        self._alive.discard(key)
        self.now -= size


def peak_bytes(step: Callable[[], None]) -> int:
    """The most that one call of `step` has alive at once, beyond what was there before."""
    with Peak() as peak:
        step()
    return peak.most


def _tensors_in(found: Any) -> list[Tensor]:
    return [leaf for leaf in torch.utils._pytree.tree_leaves(found) if isinstance(leaf, Tensor)]
