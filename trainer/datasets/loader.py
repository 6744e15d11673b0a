"""Reads images ahead of the training, in processes of its own: torch's DataLoader, fed with requests as they come.

One set of processes serves training and evaluation. Training follows an endless stream; what an evaluation asks for
goes in between, and the stream's next images are being read again while the evaluation's last are computed on.

The processes come from a fork server: forking this process is not safe beside Ray's threads, and starting each from
nothing would import torch each time. The server begins to import as soon as a loader is made.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from multiprocessing import connection, forkserver
from types import ModuleType

import torch
from torch.utils.data import DataLoader
from torch.utils.data.dataloader import _BaseDataLoaderIter, _MultiProcessingDataLoaderIter

from trainer.contract.ends import EndReason
from trainer.datasets.reading import Read, Reader, Request
from trainer.errors import TrainerError

AHEAD = 2
"""Requests waiting at each process, the one it reads included."""
PRELOADED = "trainer.datasets.fork_server"


class Loader:
    """`num_processes` 0 reads in this process, when asked."""

    def __init__(self, reader: Reader, num_processes: int, *, pin_memory: bool) -> None:
        self._requests = _Requests()
        self._ready: deque[Read] = deque()  # of the stream, read while an evaluation was served
        if num_processes:
            multiprocessing.set_forkserver_preload([PRELOADED])
            forkserver.ensure_running()
        self._loader = DataLoader(
            reader, num_workers=num_processes,
            batch_sampler=self._requests,  # type: ignore[arg-type]  # typed for lists of indices; it passes anything on
            collate_fn=_as_it_is,  # type: ignore[arg-type]
            multiprocessing_context=multiprocessing.get_context("forkserver") if num_processes else None,
            worker_init_fn=_in_its_process, prefetch_factor=AHEAD if num_processes else None,
            persistent_workers=num_processes > 0, pin_memory=pin_memory,
            generator=torch.Generator(),  # of a seed that nobody uses; without it the global stream would be drawn from
        )  # fmt: skip
        self._results: _BaseDataLoaderIter | None = None

    @property
    def stream(self) -> int:
        """The number that `follow` gave last."""
        return self._requests.stream

    def follow(self, stream: Iterator[Request]) -> int:
        """What `next` reads from now on, whatever stream it followed before."""
        self._ready.clear()
        return self._requests.follow(stream)

    def next(self) -> Read:
        """The next of the stream. Raises TrainerError(trainer_crashed) if a process is gone."""
        if self._ready:
            return self._ready.popleft()
        return self._receive(self._requests.stream)

    def aside(self, requests: Iterable[Request]) -> Generator[Read]:
        """Answers these, and then goes on with the stream."""
        asker = self._requests.ask(iter(requests))
        try:
            while self._requests.is_owed(asker):
                yield self._receive(asker)
        finally:
            self._requests.forget(asker)

    def close(self) -> None:
        """Ends the processes."""
        results, self._results = self._results, None
        if isinstance(results, _MultiProcessingDataLoaderIter):
            # DataLoader has no public way but losing its last reference, which may live on in a traceback.
            results._shutdown_workers()

    def _receive(self, wanted: int) -> Read:
        while True:
            result = self._receive_any()
            asker = self._requests.issued.popleft()
            if asker == wanted:
                return result
            if asker == self._requests.stream:
                self._ready.append(result)

    def _receive_any(self) -> Read:
        try:
            if self._results is None or not self._requests.issued:
                with _nothing_of_main():
                    self._results = iter(self._loader)  # starts the processes, or wakes them up, and asks
            result: Read = next(self._results)
            return result
        except (RuntimeError, OSError, EOFError) as error:
            if isinstance(error, RuntimeError) and "DataLoader worker" not in str(error):
                raise
            raise TrainerError(
                EndReason.trainer_crashed,
                "A process that reads images ended by itself: killed from outside, out of the machine's memory or of "
                "room in /dev/shm, or a crash in the decoder. Lower `data.loader_workers` or `micro_batch_size`, or "
                "give the machine more memory.",
            ) from error


class _Requests:
    """What DataLoader takes for a batch sampler: asked each time it can send a request, so it may run dry and go on."""

    def __init__(self) -> None:
        self.issued: deque[int] = deque()
        """Who asked for what is under way, in order, which is the order of the answers."""
        self.stream = 0
        self._newest = 0
        self._streamed: Iterator[Request] = iter(())
        self._aside: dict[int, Iterator[Request]] = {}
        self._upcoming: dict[int, Request] = {}

    def follow(self, stream: Iterator[Request]) -> int:
        self._streamed = stream
        self.stream = self._new()
        return self.stream

    def ask(self, requests: Iterator[Request]) -> int:
        asker = self._new()
        self._aside[asker] = requests
        self._look_ahead(asker)
        return asker

    def is_owed(self, asker: int) -> bool:
        return asker in self._upcoming or asker in self.issued

    def forget(self, asker: int) -> None:
        self._upcoming.pop(asker, None)
        self._aside.pop(asker, None)

    def __iter__(self) -> _Requests:
        return self

    def __next__(self) -> Request:
        for asker, request in self._upcoming.items():
            self._look_ahead(asker)
            self.issued.append(asker)
            return request
        request = next(self._streamed)
        self.issued.append(self.stream)
        return request

    def _look_ahead(self, asker: int) -> None:
        following = next(self._aside[asker], None)
        if following is None:
            self._upcoming.pop(asker, None)
        else:
            self._upcoming[asker] = following

    def _new(self) -> int:
        self._newest += 1
        return self._newest


def _as_it_is(read: Read) -> Read:
    return read


def _in_its_process(number: int) -> None:
    """The rank decides when its processes end: they survive what a terminal or a supervisor sends to the group, and
    end with the rank, however that ends (torch looks only whether the fork server lives)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.setsid()
    rank = multiprocessing.parent_process()
    assert rank is not None
    threading.Thread(target=_end_with, args=(rank.sentinel,), name="end-with-rank", daemon=True).start()


def _end_with(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)


@contextmanager
def _nothing_of_main() -> Iterator[None]:
    """Starts processes without what multiprocessing would do in them: import the main module, which for Ray's takes a
    second and for none of ours is needed."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
