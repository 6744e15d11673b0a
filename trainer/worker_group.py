"""The worker group of an attempt: a placement group and one Ray actor per rank. Loads no torch in the driver.

Ray core and not Ray Train: nothing is restarted inside a job (a new attempt is Basin's decision), and checkpoints,
metrics and retries are Basin's own, so that a group is up seconds sooner.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping, Sequence
from typing import Any

import ray
from ray.exceptions import ActorDiedError, GetTimeoutError, NodeDiedError, OutOfMemoryError, RayError
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from trainer import logs
from trainer.assignment import Assignment
from trainer.contract.ends import EndReason
from trainer.contract.spec import Resources
from trainer.errors import TrainerError, first_line
from trainer.group_messages import Meeting, Place, Pulse, RankEnd
from trainer.rank import RankProcess

ANSWER_SECONDS = 30.0
"""For a rank to answer a question that costs it nothing."""
JOIN_SECONDS, HANG_SECONDS = 120.0, 300.0
"""Where the claim says nothing: for all ranks to be placed, and again to join; and without any progress."""
LOOPBACK = "127.0.0.1"


class RankActor(RankProcess):
    """A rank as Ray runs it."""

    def place(self) -> Place:
        return Place(
            node_id=ray.get_runtime_context().get_node_id(), address=ray.util.get_node_ip_address(),
            host=platform.node(), process_id=os.getpid(),
        )  # fmt: skip


class WorkerGroup:
    """All ranks of an attempt, or none. The driver starts it, asks it, and ends it; it decides nothing."""

    def __init__(self, assignment: Assignment, resources: Resources) -> None:
        self._assignment = assignment
        self._resources = resources
        self.size = resources.workers
        self.places: dict[int, Place] = {}
        self._bundles: PlacementGroup | None = None
        self._actors: list[Any] = []
        self._placing: dict[Any, int] = {}  # what Ray returns for a rank's `place` -> rank
        self._training: dict[Any, int] = {}  # what Ray returns for a rank's `train` -> rank
        self._asked: dict[Any, int] = {}  # for a rank's `pulse` -> rank
        self._asked_at: dict[int, float] = {}  # rank -> monotonic time of the last question

    @property
    def join_timeout_seconds(self) -> float:
        return self._assignment.timeout("join", JOIN_SECONDS)

    @property
    def hang_timeout_seconds(self) -> float:
        return self._assignment.timeout("hang", HANG_SECONDS)

    def start(self) -> None:
        """Asks Ray for all ranks at once. Returns at once: `placed` says when they are there."""
        on_gpu = self._resources.gpus_per_worker > 0
        nodes = node_of_each_rank(self._assignment.claim.placement, self.size)
        self._bundles = placement_group(
            [{"GPU": 1.0} if on_gpu else {"CPU": 1.0}] * self.size, strategy="PACK",
            bundle_label_selector=[{"ray.io/node-id": node} for node in nodes] or None,
        )  # fmt: skip
        actor = ray.remote(
            num_cpus=0 if on_gpu else 1, num_gpus=1 if on_gpu else 0, max_restarts=0, max_task_retries=0,
            concurrency_groups={"watch": 2},
        )(RankActor)  # fmt: skip
        self._actors = [
            actor.options(
                name=None, scheduling_strategy=PlacementGroupSchedulingStrategy(self._bundles, rank),
            ).remote(self._assignment, rank)
            for rank in range(self.size)
        ]  # fmt: skip
        self._placing = {each.place.remote(): rank for rank, each in enumerate(self._actors)}

    def placed(self, timeout_seconds: float) -> bool:
        """Whether all ranks have a process; waits at most so long. Raises TrainerError if one could not start."""
        ready, _ = ray.wait(list(self._placing), num_returns=len(self._placing), timeout=timeout_seconds)
        for answer in ready:
            rank = self._placing.pop(answer)
            try:
                self.places[rank] = ray.get(answer)
            except RayError as error:
                end = self._why(rank, error)
                raise TrainerError(end.reason, end.detail) from error
        return not self._placing

    def begin(self) -> None:
        """Lets all ranks join and train. All must be placed."""
        is_one_node = len({place.node_id for place in self.places.values()}) == 1
        address = LOOPBACK if is_one_node else self.places[0].address
        port = 0
        if self.size > 1:
            try:
                port = ray.get(self._actors[0].listen.remote(address), timeout=ANSWER_SECONDS)
            except RayError as error:
                end = self._why(0, error)
                raise TrainerError(end.reason, end.detail) from error
        meeting = Meeting(
            size=self.size, address=address, port=port, is_one_node=is_one_node,
            join_timeout_seconds=self.join_timeout_seconds,
        )  # fmt: skip
        self._training = {each.train.remote(meeting): rank for rank, each in enumerate(self._actors)}

    def ended(self, timeout_seconds: float) -> list[RankEnd]:
        """Ranks that ended since the last call, a dead one included; waits at most so long for the first."""
        if not self._training:
            return []
        waiting = list(self._training)
        ready, _ = ray.wait(waiting, num_returns=1, timeout=timeout_seconds)
        if ready:
            ready, _ = ray.wait(waiting, num_returns=len(waiting), timeout=0)
        ends = []
        for result in ready:
            rank = self._training.pop(result)
            try:
                ends.append(ray.get(result))
            except RayError as error:
                ends.append(self._why(rank, error))
        return sorted(ends, key=lambda end: end.rank)

    @property
    def running(self) -> list[int]:
        """Ranks that have not ended."""
        return sorted(self._training.values())

    def pulses(self) -> dict[int, Pulse]:
        """The answers that came in since the last call, and a new question to every rank that owes none."""
        answers = {}
        if self._asked:
            ready, _ = ray.wait(list(self._asked), num_returns=len(self._asked), timeout=0)
            for answer in ready:
                rank = self._asked.pop(answer)
                try:
                    answers[rank] = ray.get(answer)
                except RayError:
                    continue  # its `train` ends with the same error and says so
        owing = set(self._asked.values())
        for rank in self.running:
            if rank not in owing:
                self._asked[self._watching(rank, "pulse").remote()] = rank
                self._asked_at[rank] = time.monotonic()
        return answers

    def silent(self, for_seconds: float) -> list[int]:
        """Ranks that have owed an answer for so long."""
        since = time.monotonic() - for_seconds
        return sorted(rank for rank in self._asked.values() if self._asked_at[rank] < since)

    def request_stop(self) -> None:
        self._watching(0, "request_stop").remote()

    def write_stacks(self, timeout_seconds: float) -> None:
        """Has every rank that still answers write its stacks to its log."""
        answers = [self._watching(rank, "stacks").remote() for rank in self.running]
        if answers:
            ray.wait(answers, num_returns=len(answers), timeout=timeout_seconds)

    def kill(self, *, reports_patience_seconds: float) -> None:
        """Ends every process of the group; rank 0 may deliver or store its reports first, for at most so long."""
        if self._training:
            for rank in self.running:
                if rank != 0:
                    ray.kill(self._actors[rank])
            if 0 in self.running:
                self._close_reports(reports_patience_seconds)
        for each in self._actors:
            ray.kill(each)
        if self._bundles is not None:
            remove_placement_group(self._bundles)

    def _close_reports(self, patience_seconds: float) -> None:
        closing = self._watching(0, "close_reports").remote(patience_seconds)
        try:
            ray.get(closing, timeout=patience_seconds + 0.5)
        except (RayError, GetTimeoutError):
            return  # it is dead or stuck: the driver looks after its spool

    def _watching(self, rank: int, method: str) -> Any:
        return getattr(self._actors[rank], method).options(concurrency_group="watch")

    def _why(self, rank: int, error: RayError) -> RankEnd:
        """Puts the death of a rank's process into words."""
        place = self.places.get(rank)
        who = f"Rank {rank}" + (f" (process {place.process_id} on {place.host})" if place else "")
        log_path = self._assignment.log_path(f"rank-{rank}")
        if isinstance(error, OutOfMemoryError):
            return RankEnd(
                rank=rank, reason=EndReason.out_of_memory,
                detail=f"{who} was ended by Ray because its machine ran out of memory.",
            )  # fmt: skip
        if isinstance(error, NodeDiedError) or self._is_node_lost(place, error):
            return RankEnd(rank=rank, reason=EndReason.node_lost, detail=f"{who} was lost with its node.")
        if isinstance(error, ActorDiedError) and not error._actor_init_failed:
            said = logs.last_words(log_path)
            cause = (
                f'it said "{said}"' if said else "killed from outside, out of the machine's memory, or a native crash"
            )
            return RankEnd(rank=rank, reason=EndReason.trainer_crashed, detail=f"{who} died: {cause}. See its log.")
        return RankEnd(
            rank=rank, reason=EndReason.trainer_crashed, detail=f"{who} could not go on: {_last_line(error)}"
        )

    def _is_node_lost(self, place: Place | None, error: RayError) -> bool:
        if "node has died" in str(error) or getattr(error, "preempted", False):
            return True
        if place is None:
            return False
        return not any(node["NodeID"] == place.node_id and node["Alive"] for node in ray.nodes())


def node_of_each_rank(placement: Mapping[str, int], size: int) -> list[str]:
    """Ray node id per rank, neighbours together; empty if admission did not place exactly `size` workers."""
    nodes = [node for node, workers in sorted(placement.items()) for _ in range(workers)]
    return nodes if len(nodes) == size else []


def _last_line(error: BaseException) -> str:
    """Ray puts a remote traceback before the error itself."""
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return lines[-1].strip() if lines else first_line(error)


def connect() -> None:
    """Joins the cluster that runs this job; never starts one. Raises ConnectionError or RayError."""
    ray.init(
        address=os.environ.get("RAY_ADDRESS") or "auto", log_to_driver=False, logging_level="warning",
        configure_logging=False,
    )  # fmt: skip


def disconnect() -> None:
    ray.shutdown()


__all__: Sequence[str] = ("RankActor", "WorkerGroup", "connect", "disconnect", "node_of_each_rank")
