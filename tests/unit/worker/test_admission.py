"""All workers or none, never more than a node has, in order; and the sentence for those that wait."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from worker.admission import Held, KnownNode, NeverFits, Queued, Slots, Start, Wait, admit, slots_of_worker

HOST_A = KnownNode(node_id="a", host="host-a", slots=Slots(cpus=8, gpus=2))
HOST_B = KnownNode(node_id="b", host="host-b", slots=Slots(cpus=4, gpus=4))


def run(run_id: str, workers: int = 1, gpus: int = 0, priority: int = 0, waited: float = 0) -> Queued:
    return Queued(run_id=run_id, workers=workers, gpus_per_worker=gpus, priority=priority, waiting_seconds=waited)


class TestAdmit:
    def test_a_run_starts_on_the_fullest_node_that_holds_all_its_workers(self) -> None:
        assert admit([run("r", 3)], [], [HOST_A, HOST_B]) == [Start(run_id="r", placement={"b": 3})]

    def test_a_run_larger_than_any_node_is_spread_over_as_few_as_possible(self) -> None:
        assert admit([run("r", 10)], [], [HOST_A, HOST_B]) == [Start(run_id="r", placement={"a": 8, "b": 2})]

    def test_slots_of_an_attempt_are_held_until_its_job_is_over(self) -> None:
        held = [Held(placement={"a": 8}, gpus_per_worker=0), Held(placement={"b": 1}, gpus_per_worker=0)]
        assert admit([run("r", 4)], held, [HOST_A, HOST_B]) == [
            Wait(run_id="r", reason="needs 4 CPU slots, 3 free on host-b")
        ]

    def test_slots_held_on_a_machine_that_came_back_under_a_new_id_are_held_still(self) -> None:
        held = [Held(placement={"b-before": 3}, hosts={"b-before": "host-b"}, gpus_per_worker=1)]
        assert admit([run("r", 3, gpus=1)], held, [HOST_A, HOST_B]) == [Start(run_id="r", placement={"a": 2, "b": 1})]
        (decision,) = admit([run("r", 4, gpus=1)], held, [HOST_A, HOST_B])
        assert isinstance(decision, Wait)

    def test_those_on_a_machine_that_is_gone_are_no_other_ones(self) -> None:
        held = [Held(placement={"c": 4}, hosts={"c": "host-c"}, gpus_per_worker=1)]
        assert admit([run("r", 6, gpus=1)], held, [HOST_A, HOST_B]) == [Start(run_id="r", placement={"a": 2, "b": 4})]

    def test_a_worker_on_a_gpu_takes_no_cpu_slot(self) -> None:
        held = [Held(placement={"a": 8, "b": 4}, gpus_per_worker=0)]
        assert admit([run("r", 4, gpus=1)], held, [HOST_A, HOST_B]) == [Start(run_id="r", placement={"b": 4})]

    def test_the_wait_reason_says_what_is_needed_and_what_is_free_where(self) -> None:
        held = [Held(placement={"b": 4}, gpus_per_worker=1)]
        (decision,) = admit([run("r", 4, gpus=1)], held, [HOST_A, HOST_B])
        assert decision == Wait(run_id="r", reason="needs 4 GPUs, 2 free on host-a")

    def test_with_nothing_free_it_says_so(self) -> None:
        held = [Held(placement={"a": 8, "b": 4}, gpus_per_worker=0)]
        assert admit([run("r")], held, [HOST_A, HOST_B]) == [Wait(run_id="r", reason="needs 1 CPU slot, 0 free")]

    def test_an_earlier_run_that_does_not_fit_holds_back_later_ones_that_would_but_not_those_of_other_slots(
        self,
    ) -> None:
        held = [Held(placement={"a": 8}, gpus_per_worker=0)]
        queue = [run("large", 5, waited=3), run("small", 1, waited=2), run("gpu", 1, gpus=1, waited=1)]
        assert admit(queue, held, [HOST_A, HOST_B]) == [
            Wait(run_id="large", reason="needs 5 CPU slots, 4 free on host-b"),
            Wait(run_id="small", reason="behind 1 earlier run"),
            Start(run_id="gpu", placement={"a": 1}),
        ]

    def test_the_wait_reason_says_how_many_ahead_have_a_higher_priority(self) -> None:
        held = [Held(placement={"a": 8}, gpus_per_worker=0)]
        queue = [
            run("large", 5, priority=2, waited=4),
            run("second", priority=2, waited=3),
            run("third", priority=1, waited=2),
            run("last", priority=1, waited=1),
        ]
        assert [decision.reason for decision in admit(queue, held, [HOST_A, HOST_B]) if isinstance(decision, Wait)] == [
            "needs 5 CPU slots, 4 free on host-b",
            "behind 1 earlier run",
            "behind 2 runs of higher priority",
            "behind 3 earlier runs, 2 of them of higher priority",
        ]

    def test_runs_that_start_are_not_counted_as_ahead(self) -> None:
        queue = [run("starts", 4, priority=9), run("waits", 9, waited=2), run("behind", waited=1)]
        assert admit(queue, [], [HOST_A, HOST_B])[1:] == [
            Wait(run_id="waits", reason="needs 9 CPU slots, 8 free on host-a"),
            Wait(run_id="behind", reason="behind 1 earlier run"),
        ]

    def test_what_can_never_fit_is_told_and_holds_nobody_back(self) -> None:
        assert admit([run("r", 7, gpus=1), run("next")], [], [HOST_A, HOST_B]) == [
            NeverFits(run_id="r", detail="it needs 7 GPUs, all 2 known nodes together have 6"),
            Start(run_id="next", placement={"b": 1}),
        ]

    def test_a_node_that_is_away_takes_no_worker_but_a_run_that_needs_it_waits(self) -> None:
        away = KnownNode(node_id="b", host="host-b", slots=Slots(cpus=4, gpus=4), alive=False)
        assert admit([run("r", 5, gpus=1)], [], [HOST_A, away]) == [
            Wait(run_id="r", reason="needs 5 GPUs, 2 free on host-a (1 node away)")
        ]

    def test_while_no_node_is_known_nothing_is_called_impossible(self) -> None:
        assert admit([run("r", 4)], [], []) == [Wait(run_id="r", reason="needs 4 CPU slots, no node is known yet")]

    def test_a_node_that_lost_slots_under_its_attempts_counts_as_full(self) -> None:
        shrunk = KnownNode(node_id="a", host="host-a", slots=Slots(cpus=1))
        other = KnownNode(node_id="b", host="host-b", slots=Slots(cpus=1))
        held = [Held(placement={"a": 3, "left": 2}, gpus_per_worker=0)]
        assert admit([run("r", 1)], held, [shrunk, other]) == [Start(run_id="r", placement={"b": 1})]

    def test_reasons_fit_their_column(self) -> None:
        nodes = [KnownNode(node_id=f"n{i}", host="h" * 255, slots=Slots(gpus=8)) for i in range(50)]
        nodes.append(KnownNode(node_id="z", host="z", slots=Slots(gpus=4000), alive=False))
        (decision,) = admit([run("r", 4000, gpus=1)], [], nodes)
        assert isinstance(decision, Wait)
        assert decision.reason.endswith("and 376 on 47 other nodes (1 node away)")
        assert len(decision.reason) <= 256


NODES = st.lists(
    st.builds(Slots, cpus=st.integers(0, 8), gpus=st.integers(0, 8)).flatmap(
        lambda slots: st.booleans().map(lambda alive: (slots, alive))
    ),
    max_size=4,
).map(lambda found: [KnownNode(node_id=f"n{i}", host=f"h{i}", slots=s, alive=a) for i, (s, a) in enumerate(found)])
QUEUES = st.lists(st.tuples(st.integers(1, 12), st.integers(0, 1)), max_size=8).map(
    lambda found: [run(f"r{i}", workers, gpus, waited=len(found) - i) for i, (workers, gpus) in enumerate(found)]
)
HELD = st.lists(
    st.builds(
        Held,
        placement=st.dictionaries(st.sampled_from(["n0", "n1", "n2", "left"]), st.integers(1, 4), max_size=2),
        gpus_per_worker=st.integers(0, 1),
    ),
    max_size=4,
)


def taken(placements: list[tuple[dict[str, int], int]], node_id: str) -> Slots:
    total = Slots()
    for placement, gpus_per_worker in placements:
        total += slots_of_worker(gpus_per_worker) * placement.get(node_id, 0)
    return total


class TestAdmitForAnyClusterAndQueue:
    @given(QUEUES, HELD, NODES)
    def test_a_decision_for_every_run_in_order(
        self, queue: list[Queued], held: list[Held], nodes: list[KnownNode]
    ) -> None:
        assert [decision.run_id for decision in admit(queue, held, nodes)] == [waiting.run_id for waiting in queue]

    @given(QUEUES, HELD, NODES)
    def test_no_node_is_given_more_than_it_has_free(
        self, queue: list[Queued], held: list[Held], nodes: list[KnownNode]
    ) -> None:
        wants = {waiting.run_id: waiting for waiting in queue}
        before = [(dict(attempt.placement), attempt.gpus_per_worker) for attempt in held]
        starts = [d for d in admit(queue, held, nodes) if isinstance(d, Start)]
        new = [(start.placement, wants[start.run_id].gpus_per_worker) for start in starts]
        known = {node.node_id: node for node in nodes}
        for node_id in {node_id for placement, _ in new for node_id in placement}:
            assert known[node_id].alive
            for kind in ("cpus", "gpus"):
                if getattr(taken(new, node_id), kind):
                    assert getattr(taken(before + new, node_id), kind) <= getattr(known[node_id].slots, kind)

    @given(QUEUES, HELD, NODES)
    def test_all_workers_of_a_run_start_or_none(
        self, queue: list[Queued], held: list[Held], nodes: list[KnownNode]
    ) -> None:
        wants = {waiting.run_id: waiting.workers for waiting in queue}
        for decision in admit(queue, held, nodes):
            if isinstance(decision, Start):
                assert sum(decision.placement.values()) == wants[decision.run_id]
                assert min(decision.placement.values()) >= 1

    @given(QUEUES, HELD, NODES)
    def test_where_no_end_is_known_no_run_overtakes_one_that_waits_for_the_same_slots(
        self, queue: list[Queued], held: list[Held], nodes: list[KnownNode]
    ) -> None:
        alive = {gpus: sum(n.slots.holds(slots_of_worker(gpus)) for n in nodes if n.alive) for gpus in (0, 1)}
        for gpus in (0, 1):
            decided = [
                decision
                for waiting, decision in zip(queue, admit(queue, held, nodes), strict=True)
                if waiting.gpus_per_worker == gpus and waiting.workers <= alive[gpus]
            ]
            kinds = [type(decision) for decision in decided]
            assert kinds == sorted(kinds, key=[Start, Wait].index)

    @given(QUEUES, NODES)
    def test_with_nothing_held_the_first_run_that_fits_the_living_nodes_starts(
        self, queue: list[Queued], nodes: list[KnownNode]
    ) -> None:
        if queue:
            first = queue[0]
            room = sum(n.slots.holds(slots_of_worker(first.gpus_per_worker)) for n in nodes if n.alive)
            assert isinstance(admit(queue, [], nodes)[0], Start) == (room >= first.workers)

    @given(QUEUES, HELD, NODES)
    def test_the_order_of_the_nodes_changes_nothing(
        self, queue: list[Queued], held: list[Held], nodes: list[KnownNode]
    ) -> None:
        assert admit(queue, held, nodes) == admit(queue, list(reversed(held)), list(reversed(nodes)))
