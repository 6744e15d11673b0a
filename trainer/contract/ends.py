"""Why a run or an attempt ended: one enum, one total table."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal


class EndReason(StrEnum):
    completed = "completed"
    cancelled_by_user = "cancelled_by_user"
    paused = "paused"
    superseded = "superseded"
    time_limit = "time_limit"
    deadline_passed = "deadline_passed"
    spec_rejected_by_trainer = "spec_rejected_by_trainer"
    never_fits = "never_fits"
    data_unreadable = "data_unreadable"
    storage_not_shared = "storage_not_shared"
    checkpoint_unreadable = "checkpoint_unreadable"
    loss_not_finite = "loss_not_finite"
    out_of_memory = "out_of_memory"
    disk_full = "disk_full"
    gpu_held = "gpu_held"
    trainer_crashed = "trainer_crashed"
    trainer_hung = "trainer_hung"
    node_lost = "node_lost"
    ray_unreachable = "ray_unreachable"
    launch_timed_out = "launch_timed_out"


Fault = Literal["nobody", "user", "spec", "data", "trainer", "infrastructure"]
EndStatus = Literal["succeeded", "failed", "cancelled"]


@dataclass(frozen=True, kw_only=True)
class End:
    """What a reason means: the run's status if it ends by it, whether a new attempt may help, whose fault it was."""

    status: EndStatus
    retryable: bool
    fault: Fault
    sentence: str


ENDS: dict[EndReason, End] = {
    EndReason.completed: End(status="succeeded", retryable=False, fault="nobody", sentence="All steps were trained."),
    EndReason.cancelled_by_user: End(
        status="cancelled", retryable=False, fault="user", sentence="Cancelled on request; the last checkpoint is kept."
    ),
    EndReason.paused: End(
        status="cancelled",
        retryable=False,
        fault="nobody",
        sentence="Paused; the run goes on from its last checkpoint when it is resumed.",
    ),
    EndReason.superseded: End(
        status="cancelled", retryable=False, fault="nobody", sentence="A newer attempt of the run took over."
    ),
    EndReason.time_limit: End(
        status="failed",
        retryable=False,
        fault="user",
        sentence="The run used up its time limit; the last checkpoint is kept. Submit it with a longer limit.",
    ),
    EndReason.deadline_passed: End(
        status="failed",
        retryable=False,
        fault="user",
        sentence="The run's deadline passed before its end; the last checkpoint is kept. Submit it with a later one.",
    ),
    EndReason.spec_rejected_by_trainer: End(
        status="failed",
        retryable=False,
        fault="spec",
        sentence="The trainer cannot build what the spec asks for; mend the field named in the detail, submit again.",
    ),
    EndReason.never_fits: End(
        status="failed",
        retryable=False,
        fault="spec",
        sentence="The cluster can never give what the run asks for; ask for less or add nodes.",
    ),
    EndReason.data_unreadable: End(
        status="failed",
        retryable=False,
        fault="data",
        sentence="The data could not be read; mend the file or folder named in the detail and submit again.",
    ),
    EndReason.storage_not_shared: End(
        status="failed",
        retryable=False,
        fault="infrastructure",
        sentence="The trainer does not see the API's storage; set BASIN_STORAGE to a folder that every node mounts.",
    ),
    EndReason.checkpoint_unreadable: End(
        status="failed",
        retryable=True,
        fault="infrastructure",
        sentence="No checkpoint of the run could be read; put back what the detail names, or submit the run anew.",
    ),
    EndReason.loss_not_finite: End(
        status="failed",
        retryable=False,
        fault="spec",
        sentence="The loss or the gradient was not finite; lower lr, rho or alpha, or lengthen the warm-up.",
    ),
    EndReason.out_of_memory: End(
        status="failed",
        retryable=False,
        fault="spec",
        sentence="A worker ran out of memory; lower micro_batch_size or use a smaller model.",
    ),
    EndReason.disk_full: End(
        status="failed",
        retryable=True,
        fault="infrastructure",
        sentence="The storage is full; free space, then the run goes on from its last checkpoint.",
    ),
    EndReason.gpu_held: End(
        status="failed",
        retryable=True,
        fault="infrastructure",
        sentence="Another process held a GPU of the run; the detail says on which host: end that process there.",
    ),
    EndReason.trainer_crashed: End(
        status="failed",
        retryable=True,
        fault="trainer",
        sentence="A training process died; its last log lines say more.",
    ),
    EndReason.trainer_hung: End(
        status="failed", retryable=True, fault="trainer", sentence="A training process stopped making progress."
    ),
    EndReason.node_lost: End(
        status="failed",
        retryable=True,
        fault="infrastructure",
        sentence="The machine or the Ray cluster under the run went away.",
    ),
    EndReason.ray_unreachable: End(
        status="failed", retryable=True, fault="infrastructure", sentence="Ray could not be reached to start the run."
    ),
    EndReason.launch_timed_out: End(
        status="failed",
        retryable=True,
        fault="infrastructure",
        sentence="The run was handed to Ray but no trainer claimed it in time.",
    ),
}
