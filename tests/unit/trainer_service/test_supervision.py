"""Which rank is at fault: pure decisions of the driver."""

from __future__ import annotations

from trainer.contract.ends import EndReason
from trainer.group_messages import Phase, Pulse, RankEnd
from trainer.supervision import Progress, cause_of, hung_ranks
from trainer.worker_group import node_of_each_rank


def pulse(entered: int, left: int, phase: Phase = Phase.training, passes: int = 0) -> Pulse:
    return Pulse(
        phase=phase, passes=passes, entered=entered, left=left, device="cpu", first_step_done=False, superseded=False
    )


def progress_of(*pulses: Pulse, at: float = 0.0) -> Progress:
    progress = Progress(started_at=0.0)
    progress.observe(dict(enumerate(pulses)), at)
    return progress


def test_a_rank_that_does_not_answer_holds_up_the_others() -> None:
    progress = progress_of(pulse(8, 7), pulse(7, 7), pulse(8, 7))
    assert hung_ranks(progress, silent=[1], running=[0, 1, 2]) == [1]


def test_a_rank_outside_the_collective_holds_up_those_inside() -> None:
    progress = progress_of(pulse(8, 7), pulse(8, 7), pulse(7, 7))
    assert hung_ranks(progress, silent=[], running=[0, 1, 2]) == [2]


def test_where_all_wait_for_each_other_all_are_named() -> None:
    assert hung_ranks(progress_of(pulse(8, 7), pulse(8, 7)), silent=[], running=[0, 1]) == [0, 1]
    assert hung_ranks(progress_of(pulse(8, 7), pulse(8, 7)), silent=[0, 1], running=[0, 1]) == [0, 1]


def test_a_group_stands_still_only_when_every_rank_does() -> None:
    progress = progress_of(pulse(1, 1), pulse(1, 1), at=10.0)
    progress.observe({0: pulse(1, 1), 1: pulse(2, 1)}, 50.0)
    assert progress.still_seconds(60.0) == 10.0
    progress.observe({0: pulse(1, 1), 1: pulse(2, 1)}, 70.0)
    assert progress.still_seconds(71.0) == 21.0


def test_the_patience_with_a_group_is_ten_median_passes_or_the_time_out_if_that_is_longer() -> None:
    progress = progress_of(pulse(0, 0))
    assert progress.patience_seconds(300.0) == 300.0
    # 1,000 s of preparation before the first pass are no pass; then 40 s each, looked at after one and after four.
    for passes, at in ((1, 1000.0), (2, 1040.0), (2, 1041.0), (6, 1200.0), (7, 1700.0)):
        progress.observe({0: pulse(0, 0, passes=passes)}, at)
    assert list(progress.pass_seconds) == [40.0, 40.0, 500.0]
    assert progress.patience_seconds(300.0) == 400.0
    assert progress.patience_seconds(600.0) == 600.0


def test_those_who_have_not_joined_are_named() -> None:
    progress = progress_of(pulse(0, 0), pulse(0, 0, Phase.joining), pulse(0, 0, Phase.done))
    assert progress.not_yet_in(Phase.training, 4) == [1, 3]
    assert not progress.is_in(Phase.training, 3)
    assert progress.is_in(Phase.joining, 3)


def test_the_cause_is_the_rank_that_is_no_echo() -> None:
    echo = RankEnd(rank=0, reason=EndReason.trainer_crashed, detail="Connection closed by peer", is_echo=True)
    death = RankEnd(rank=3, reason=EndReason.trainer_crashed, detail="Rank 3 died")
    memory = RankEnd(rank=1, reason=EndReason.out_of_memory)
    assert cause_of([echo, death]) is death
    assert cause_of([echo, death, memory]) is memory
    assert cause_of([echo]) is echo


def test_ranks_lie_together_on_the_nodes_admission_chose() -> None:
    assert node_of_each_rank({"b": 1, "a": 2}, 3) == ["a", "a", "b"]
    assert node_of_each_rank({}, 3) == []
    assert node_of_each_rank({"a": 2}, 3) == []
