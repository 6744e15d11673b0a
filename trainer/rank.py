"""One rank of a worker group: the process that trains. Loads torch in a thread while Ray still places the others."""

from __future__ import annotations

import logging
import os
import platform
import socket
import sys
import threading
import traceback
from datetime import timedelta
from typing import TYPE_CHECKING

from trainer import logs
from trainer.assignment import Assignment
from trainer.contract.ends import EndReason
from trainer.contract.spec import stored_spec
from trainer.errors import TrainerError, exhaustion_named, first_line
from trainer.group_messages import Beats, Meeting, Phase, Pulse, RankEnd
from trainer.listener import Listener, Outcome, Silence
from trainer.loading import load_libraries

if TYPE_CHECKING:
    import torch

    from trainer.parallel import World
    from trainer.reporter import RankZeroReporter

log = logging.getLogger(__name__)

RANK_EXTRA_SECONDS = 30.0
"""A rank waits longer by this for the others to join than the driver, which can name the one that holds them up."""
COLLECTIVE_SECONDS = 86_400.0
"""The driver ends a hung group, with patience that grows with the passes: a collective's own time-out is none."""
LISTEN_BACKLOG = 4096


class RankProcess:
    """Methods run on two threads: `train` on one, `pulse`, `request_stop` and `close_reports` beside it on another."""

    def __init__(self, assignment: Assignment, rank: int) -> None:
        self._assignment = assignment
        self._rank = rank
        self._beats = Beats()
        self._phase = Phase.loading
        self._device = ""
        self._reporter: RankZeroReporter | None = None
        self._listener_socket: socket.socket | None = None
        self._stop_requested = False
        self._closing = threading.Lock()
        name = f"rank-{rank}"
        logs.log_rank(assignment.log_path(name), logs.line_form(assignment.log_format, assignment.log_fields(name)))
        if assignment.claim.spec.get("resources", {}).get("gpus_per_worker", 0) == 0:
            os.environ["OMP_NUM_THREADS"] = "1"  # a slot is one processor; read when torch is loaded
        log.info("Rank %d is process %d on %s.", rank, os.getpid(), platform.node())
        self._loading = threading.Thread(target=_load_libraries, name="load", daemon=True)
        self._loading.start()

    # -- asked by the driver before training --------------------------------------------------------------------------

    def listen(self, address: str) -> int:
        """Rank 0: opens the port where the ranks meet, before torch is there to serve it; returns it."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._listener_socket = socket.socket(family, socket.SOCK_STREAM)
        self._listener_socket.bind((address, 0))
        self._listener_socket.listen(LISTEN_BACKLOG)
        port: int = self._listener_socket.getsockname()[1]
        return port

    # -- the training -------------------------------------------------------------------------------------------------

    def train(self, meeting: Meeting) -> RankEnd:
        """Trains to the end. Never raises: an error becomes a RankEnd with its reason, and a traceback in the log."""
        try:
            with exhaustion_named():
                return self._train(meeting)
        except TrainerError as error:
            log.error("%s: %s", error.reason, error.detail)
            return RankEnd(rank=self._rank, reason=error.reason, detail=error.detail, device=self._device)
        except Exception as error:
            log.exception("Training failed")
            return RankEnd(
                rank=self._rank, reason=EndReason.trainer_crashed, device=self._device,
                detail=f"Rank {self._rank} failed: {type(error).__name__}: {first_line(error)}. See its log.",
                is_echo=self._beats.is_waiting or self._phase is Phase.joining,
            )  # fmt: skip
        finally:
            self.close_reports(self._assignment.deliver_seconds)
            self._phase = Phase.done

    def _train(self, meeting: Meeting) -> RankEnd:
        self._loading.join()
        from trainer import loop, parallel

        self._phase = Phase.joining
        world = self._join(meeting)
        log.info("Rank %d of %d trains on %s.", self._rank, meeting.size, self._device)
        listener: Listener = Silence()
        if self._rank == 0:
            listener = self._reporter = self._report()
        self._phase = Phase.training
        outcome = loop.train(
            stored_spec(self._assignment.claim.spec), world, folder=self._assignment.run_folder, listener=listener,
            resume=self._assignment.resume_folders(), stop=self._is_stop_requested,
            data_roots=self._assignment.claim.data_roots, initial=self._assignment.initial_folders(),
            weight_roots=[*self._assignment.claim.data_roots, self._assignment.claim.storage],
        )  # fmt: skip
        parallel.leave(world)
        return RankEnd(
            rank=self._rank, reason=self._reason_of(outcome), detail=outcome.detail, step=outcome.step,
            device=self._device,
        )  # fmt: skip

    def _reason_of(self, outcome: Outcome) -> EndReason:
        """The loop knows that it was stopped, rank 0 also what for: a cancel or a pause."""
        if outcome.reason is EndReason.cancelled_by_user and self._reporter is not None:
            return self._reporter.stop_reason
        return outcome.reason

    def _report(self) -> RankZeroReporter:
        from trainer.reporter import RankZeroReporter

        return RankZeroReporter(self._assignment)

    def _join(self, meeting: Meeting) -> World:
        import torch

        from trainer import held_gpu, parallel
        from trainer.heartbeat import WatchedWorld

        on_gpu = self._assignment.claim.spec.get("resources", {}).get("gpus_per_worker", 0) > 0
        device = _device(on_gpu)
        self._device = torch.cuda.get_device_name(device) if on_gpu else "cpu"
        if on_gpu:
            # Shorter than the driver waits for all to join, which would name this rank as late and not the GPU as held.
            held_gpu.wait_until_free(device, patience_seconds=meeting.join_timeout_seconds / 2)
        if meeting.size == 1:
            return WatchedWorld(rank=0, size=1, device=device, beats=self._beats)
        _describe_world(self._rank, meeting)
        world = parallel.join(
            rank=self._rank, size=meeting.size, device=device, store=self._store(meeting),
            join_timeout_seconds=meeting.join_timeout_seconds + RANK_EXTRA_SECONDS,
            hang_timeout_seconds=COLLECTIVE_SECONDS,
        )  # fmt: skip
        return WatchedWorld(rank=world.rank, size=world.size, device=world.device, group=world.group, beats=self._beats)

    def _store(self, meeting: Meeting) -> torch._C._distributed_c10d.Store:
        from torch._C._distributed_c10d import TCPStore

        timeout = timedelta(seconds=meeting.join_timeout_seconds + RANK_EXTRA_SECONDS)
        if self._listener_socket is None:
            return TCPStore(meeting.address, meeting.port, meeting.size, is_master=False, timeout=timeout)
        return TCPStore(
            meeting.address, meeting.port, meeting.size, is_master=True, timeout=timeout, wait_for_workers=False,
            master_listen_fd=self._listener_socket.detach(),
        )  # fmt: skip

    def _is_stop_requested(self) -> bool:
        return self._stop_requested or (self._reporter is not None and self._reporter.stop())

    # -- asked by the driver beside training --------------------------------------------------------------------------

    def pulse(self) -> Pulse:
        reporter = self._reporter
        return Pulse(
            phase=self._phase, passes=self._beats.passes, entered=self._beats.entered, left=self._beats.left,
            device=self._device,
            first_step_done=reporter is not None and reporter.first_step_done,
            superseded=reporter is not None and reporter.superseded,
        )  # fmt: skip

    def request_stop(self) -> None:
        """Save a checkpoint at the next step all ranks agree on, then end."""
        self._stop_requested = True

    def close_reports(self, patience_seconds: float) -> None:
        """Delivers what rank 0 still has to tell, or stores it. Once; also called when another rank failed."""
        with self._closing:
            reporter, self._reporter = self._reporter, None
            if reporter is None:
                return
            try:
                left = reporter.close(patience_seconds=patience_seconds)
            except OSError as error:
                log.error("The last reports could be neither delivered nor stored: %s", error)
            else:
                if left:
                    log.warning("%d reports could not be delivered; they are stored and taken in later.", left)

    def stacks(self) -> None:
        """Writes what every thread is doing to the log: the first question when a rank hangs."""
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        for ident, frame in sys._current_frames().items():
            stack = "".join(traceback.format_stack(frame))
            log.error("Thread %s:\n%s", names.get(ident, ident), stack.rstrip())


def _load_libraries() -> None:
    """Imports what training needs. An error is raised again, and reported, by the import in `_train`."""
    try:
        load_libraries()
        log.info("Libraries are loaded.")
    except Exception:
        log.exception("The training libraries could not be loaded")


def _device(on_gpu: bool) -> torch.device:
    import torch

    if not on_gpu:
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise TrainerError(
            EndReason.trainer_crashed,
            f"Ray gave a GPU on {platform.node()} (CUDA_VISIBLE_DEVICES={os.environ.get('CUDA_VISIBLE_DEVICES', '')}) "
            "that torch cannot use: check the driver with nvidia-smi, and that torch is a CUDA build.",
        )
    return torch.device("cuda", 0)  # Ray shows each rank its own GPU alone


def _describe_world(rank: int, meeting: Meeting) -> None:
    """The variables torchrun would set; libraries read them."""
    os.environ.update(
        RANK=str(rank), WORLD_SIZE=str(meeting.size), MASTER_ADDR=meeting.address, MASTER_PORT=str(meeting.port)
    )
    if meeting.is_one_node and os.path.exists("/sys/class/net/lo"):
        # gloo looks up the host's own name to find its address, which fails or leaves the machine on many a laptop.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
