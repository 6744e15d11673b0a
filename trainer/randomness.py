"""Randomness is keyed, not streamed: every draw is a function of the seed and of where it is used.

    initialisation = f(seed)                            order of an epoch = f(seed, epoch)
    dropout, drop-path masks = f(seed, step, micro-batch, rank)      split = f(split_seed)
    augmentation = f(seed, epoch, image)

So nothing has to be saved to go on bit for bit, the second pass of a refresh sees the masks of the first by asking
again, and two runs that differ in one thing (the method, the length) are paired in all the others.
"""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def key(use: str, *where: int) -> int:
    """A 63-bit seed for one use at one place; different uses and places get unrelated seeds."""
    text = ":".join([use, *map(str, where)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def generator(use: str, *where: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key(use, *where)))


def seed_initialisation(seed: int) -> None:
    """Seeds torch, whose initialisers draw from its global stream."""
    torch.manual_seed(key("initialisation", seed))


def seed_masks(seed: int, step: int, micro_batch: int, rank: int) -> None:
    """To be called right before each forward pass: dropout and drop-path draw from the device's global stream."""
    torch.manual_seed(key("masks", seed, step, micro_batch, rank))


def seed_augmentation(seed: int, epoch: int, image: int) -> None:
    """To be called right before an image's transform: timm's draw from Python's, NumPy's and torch's global streams."""
    number = key("augmentation", seed, epoch, image)
    random.seed(number)
    np.random.seed(number % 2**32)  # NumPy's global stream takes no more; RandAugment draws from it
    torch.default_generator.manual_seed(number)  # torch.manual_seed would also look after the GPUs, each time


@contextmanager
def numpy_seeded(use: str, *where: int) -> Iterator[None]:
    """Seeds numpy's global stream, which timm's mixup draws from, and puts it back."""
    state = np.random.get_state()
    np.random.seed(key(use, *where) % 2**32)
    try:
        yield
    finally:
        np.random.set_state(state)


@contextmanager
def streams_put_back() -> Iterator[None]:
    """Leaves Python's, NumPy's and torch's global streams as they were."""
    python, of_numpy, of_torch = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(of_numpy)
        torch.set_rng_state(of_torch)


def make_deterministic(device: torch.device, threads: int | None, *, tf32: bool = False) -> None:
    """Makes this process compute the same bits every time; `threads` None leaves torch's own number of CPU threads.

    The number of threads decides how sums are split, and so the last bits: it is settled once at a run's start and goes
    into its checkpoints.
    """
    if threads is not None:
        torch.set_num_threads(threads)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it with its first call
    # On a GPU some operations have no deterministic kernel: there torch names them in a warning instead of refusing.
    torch.use_deterministic_algorithms(True, warn_only=device.type == "cuda")
    # Filling new memory in deterministic mode is for finding bugs; it would cost a write per tensor.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32


def settled_threads(world_size: int, device: torch.device) -> int | None:
    """One CPU thread per worker of several: they share a machine, and a CPU slot is one CPU. None: torch's own."""
    return 1 if world_size > 1 and device.type == "cpu" else None
