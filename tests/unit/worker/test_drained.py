"""A drained machine: no new runs, no reservations, as if it were not there; and whoever needs it is told so."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from worker.admission import Held, KnownNode, NeverFits, Policy, Preempt, Queued, Slots, Start, Wait, admit

HOST_A = KnownNode(node_id="a", host="host-a", slots=Slots(gpus=8), drained=True)
HOST_B = KnownNode(node_id="b", host="host-b", slots=Slots(gpus=4))


def gpus(run_id: str, workers: int, *, priority: int = 0, waited: float = 0) -> Queued:
    return Queued(run_id=run_id, workers=workers, gpus_per_worker=1, priority=priority, waiting_seconds=waited)


class TestReasons:
    def test_a_run_that_could_only_fit_there_says_so_and_is_not_refused(self) -> None:
        assert admit([gpus("r", 6)], [], [HOST_A, HOST_B]) == [
            Wait(run_id="r", reason="needs 6 GPUs, 4 free on host-b (host-a drained)")
        ]

    def test_also_behind_others(self) -> None:
        held = [Held(placement={"b": 4}, gpus_per_worker=1)]
        _, wide = admit([gpus("first", 4, waited=9), gpus("wide", 6)], held, [HOST_A, HOST_B])
        assert wide == Wait(run_id="wide", reason="needs 6 GPUs, 0 free (host-a drained)")

    def test_with_every_node_drained_all_wait(self) -> None:
        assert admit([gpus("r", 1)], [], [HOST_A]) == [Wait(run_id="r", reason="needs 1 GPU, 0 free (host-a drained)")]

    def test_many_are_counted(self) -> None:
        nodes = [replace(HOST_A, node_id=str(i), host=f"host-{i}") for i in range(5)]
        [wait] = admit([gpus("r", 1)], [], nodes)
        assert isinstance(wait, Wait)
        assert wait.reason == "needs 1 GPU, 0 free (host-0, host-1, host-2 and 2 other nodes drained)"


class TestPlacement:
    def test_those_that_run_there_end_without_freeing_anything(self) -> None:
        held = [
            Held(placement={"a": 8}, gpus_per_worker=1, run_id="there", ends_in_seconds=60),
            Held(placement={"b": 4}, gpus_per_worker=1, run_id="here", ends_in_seconds=600),
        ]
        [wait] = admit([gpus("r", 4)], held, [HOST_A, HOST_B])
        assert isinstance(wait, Wait)
        assert wait.starts_in_seconds == 600

    def test_it_takes_runs_again_when_it_is_no_longer_drained(self) -> None:
        assert admit([gpus("r", 6)], [], [replace(HOST_A, drained=False), HOST_B]) == [
            Start(run_id="r", placement={"a": 6})
        ]

    def test_nobody_is_preempted_there(self) -> None:
        held = [Held(placement={"a": 4}, gpus_per_worker=1, run_id="low", priority=-5, preemptible=True)]
        busy = Held(placement={"b": 4}, gpus_per_worker=1, run_id="same", preemptible=True)
        decisions = admit([gpus("r", 4)], [*held, busy], [HOST_A, HOST_B], policy=Policy(preemption=True))
        assert not [each for each in decisions if isinstance(each, Preempt)]


@given(
    sizes=st.lists(st.integers(1, 8), min_size=1, max_size=4),
    drained=st.sets(st.integers(0, 3)),
    wanted=st.lists(st.tuples(st.integers(1, 10), st.integers(-2, 2)), max_size=6),
    held=st.lists(
        st.tuples(st.integers(0, 3), st.integers(1, 8), st.one_of(st.none(), st.integers(0, 900))), max_size=4
    ),
)
def test_it_is_as_if_the_machine_were_not_there(
    sizes: list[int],
    drained: set[int],
    wanted: list[tuple[int, int]],
    held: list[tuple[int, int, int | None]],
) -> None:
    """For any cluster: the same starts and the same reservations; only what would never fit waits instead."""
    nodes = [
        KnownNode(node_id=f"n{i}", host=f"h{i}", slots=Slots(gpus=size), drained=i in drained)
        for i, size in enumerate(sizes)
    ]
    queue = [gpus(f"r{i}", workers, priority=priority, waited=i) for i, (workers, priority) in enumerate(wanted)]
    running = [
        Held(placement={f"n{node}": workers}, gpus_per_worker=1, run_id=f"x{i}", ends_in_seconds=ends)
        for i, (node, workers, ends) in enumerate(held)
    ]
    there = {node.node_id for node in nodes if not node.drained}
    decisions = admit(queue, running, nodes)
    without = admit(
        queue,
        [each for each in running if each.placement.keys() <= there],
        # Large and away, so that nothing is refused for good; it offers no slot.
        [node for node in nodes if not node.drained]
        + [KnownNode(node_id="z", host="z", slots=Slots(gpus=99), alive=False)],
    )
    for decision, other in zip(decisions, without, strict=True):
        if isinstance(decision, Start):
            assert decision.placement.keys() <= there
            assert decision == other
        elif isinstance(decision, NeverFits):
            assert isinstance(other, Wait)
        else:
            assert isinstance(decision, Wait)
            assert isinstance(other, Wait)
            assert decision.starts_in_seconds == other.starts_in_seconds
