"""What the queue can rely on: priority, reservations, fair share, quotas, pauses; for any queue and any cluster."""

from __future__ import annotations

import random
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from worker.admission import (
    Held,
    KnownNode,
    NeverFits,
    Person,
    Policy,
    Preempt,
    Queued,
    Slots,
    Start,
    Wait,
    admit,
)

HOST = KnownNode(node_id="a", host="host-a", slots=Slots(gpus=8))
PAUSES = Policy(preemption=True)


def gpus(
    run_id: str, workers: int, *, user: str = "ada", priority: int = 0, waited: float = 0, length: float | None = None
) -> Queued:
    return Queued(
        run_id=run_id, workers=workers, gpus_per_worker=1, user=user, priority=priority, waiting_seconds=waited,
        expected_seconds=length,
    )  # fmt: skip


def running(
    run_id: str, workers: int, *, user: str = "ada", priority: int = 0, ends: float | None = None, may: bool = True
) -> Held:
    return Held(
        placement={"a": workers}, gpus_per_worker=1, run_id=run_id, user=user, priority=priority, ends_in_seconds=ends,
        preemptible=may,
    )  # fmt: skip


class TestReservation:
    def test_a_run_that_does_not_fit_is_told_when_it_starts_and_after_whom(self) -> None:
        held = [running("soon", 1, ends=600), running("later", 3, ends=2280)]
        assert admit([gpus("r", 6)], held, [HOST]) == [
            Wait(
                run_id="r",
                reason="needs 6 GPUs, 4 free on host-a; reserved: starts when run later ends in about 40 min",
                starts_in_seconds=2280,
            )
        ]

    def test_nobody_is_told_which_private_run_it_waits_for(self) -> None:
        held = [replace(running("secret", 4, ends=2280), private=True)]
        [decision] = admit([gpus("r", 6)], held, [HOST])
        assert isinstance(decision, Wait)
        assert decision.reason == "needs 6 GPUs, 4 free on host-a; reserved: starts in about 40 min"

    def test_a_run_that_is_over_in_time_goes_before_and_a_longer_one_does_not(self) -> None:
        queue = [gpus("big", 8, waited=9), gpus("long", 1, waited=8, length=601), gpus("short", 1, length=600)]
        big, long, short = admit(queue, [running("x", 4, ends=600)], [HOST])
        assert isinstance(big, Wait)
        assert isinstance(long, Wait)
        assert isinstance(short, Start)

    def test_a_longer_one_goes_before_on_slots_that_are_not_needed(self) -> None:
        queue = [gpus("big", 6, waited=9), gpus("endless", 2, waited=8), gpus("one more", 1)]
        big, endless, more = admit(queue, [running("x", 4, ends=600)], [HOST])
        assert isinstance(big, Wait)
        assert isinstance(endless, Start)
        assert isinstance(more, Wait)

    def test_where_an_end_is_not_known_nothing_goes_before_that_could_be_in_the_way(self) -> None:
        queue = [gpus("big", 8, waited=9), gpus("short", 1, length=1)]
        assert admit(queue, [running("x", 4)], [HOST]) == [
            Wait(run_id="big", reason="needs 8 GPUs, 4 free on host-a"),
            Wait(run_id="short", reason="behind 1 earlier run"),
        ]

    def test_the_second_one_that_does_not_fit_is_reserved_after_the_first(self) -> None:
        queue = [gpus("first", 8, waited=9, length=1000), gpus("second", 8, waited=8, length=10)]
        first, second = admit(queue, [running("x", 4, ends=600)], [HOST])
        assert isinstance(first, Wait)
        assert isinstance(second, Wait)
        assert (first.starts_in_seconds, second.starts_in_seconds) == (600, 1600)

    def test_a_run_that_waits_for_a_node_that_is_away_holds_nobody_back(self) -> None:
        away = KnownNode(node_id="b", host="host-b", slots=Slots(gpus=8), alive=False)
        waits, starts = admit([gpus("both", 16, waited=9), gpus("one", 1)], [], [HOST, away])
        assert waits == Wait(run_id="both", reason="needs 16 GPUs, 8 free on host-a (1 node away)")
        assert isinstance(starts, Start)


class TestFairShare:
    def test_of_equal_priority_the_user_who_holds_less_is_first_even_who_came_later(self) -> None:
        queue = [gpus("more", 4, user="ada", waited=60), gpus("less", 4, user="bob")]
        ada, bob = admit(queue, [running("x", 4, user="ada")], [HOST])
        assert isinstance(ada, Wait)
        assert isinstance(bob, Start)

    def test_what_was_used_lately_counts_too_and_weight_divides_it(self) -> None:
        queue = [gpus("a", 8, user="ada"), gpus("b", 8, user="bob")]
        people = {"ada": Person(recent_gpus=4), "bob": Person(recent_gpus=6)}
        assert isinstance(admit(queue, [], [HOST], people)[0], Start)
        people["bob"] = replace(people["bob"], weight=2)
        assert isinstance(admit(queue, [], [HOST], people)[1], Start)

    def test_users_take_turns(self) -> None:
        queue = [gpus(f"a{i}", 2, user="ada", waited=9 - i) for i in range(4)] + [
            gpus(f"b{i}", 2, user="bob") for i in range(4)
        ]
        started = [d.run_id for d in admit(queue, [], [HOST]) if isinstance(d, Start)]
        assert started == ["a0", "a1", "b0", "b1"]

    def test_priority_stands_above_fair_share(self) -> None:
        queue = [gpus("urgent", 8, user="ada", priority=1), gpus("b", 8, user="bob", waited=1e9)]
        assert isinstance(admit(queue, [], [HOST], {"ada": Person(recent_gpus=8)})[0], Start)

    def test_patience_wins_over_lighter_use(self) -> None:
        people = {"ada": Person(recent_gpus=8)}
        old, new = gpus("old", 8, user="ada", waited=1001), gpus("new", 8, user="bob")
        assert isinstance(admit([old, new], [], [HOST], people, Policy(patience_seconds=1000))[0], Start)
        assert isinstance(admit([old, new], [], [HOST], people, Policy(patience_seconds=2000))[1], Start)


class TestQuotas:
    def test_a_user_at_their_quota_waits_and_holds_nobody_else_back(self) -> None:
        people = {"ada": Person(max_workers=2)}
        queue = [gpus("a", 1, waited=2), gpus("b", 8, user="bob"), gpus("c", 1, waited=1), gpus("d", 1, user="bob")]
        decided = admit(queue, [running("x", 2)], [HOST], people)
        assert decided[0] == Wait(run_id="a", reason="your quota of 2 workers at once is used up")
        assert decided[2] == Wait(
            run_id="c", reason="behind an earlier run that waits for your quota of 2 workers at once"
        )
        assert isinstance(decided[1], Wait)
        assert decided[1].reason == "needs 8 GPUs, 6 free on host-a"

    def test_it_says_what_the_quota_leaves(self) -> None:
        people = {"ada": Person(max_workers=3)}
        (decision,) = admit([gpus("a", 2)], [running("x", 2)], [HOST], people)
        assert decision == Wait(run_id="a", reason="needs 2 workers, your quota of 3 workers at once leaves 1")
        (decision,) = admit([gpus("a", 4)], [], [HOST], people)
        assert decision == Wait(
            run_id="a", reason="needs 4 workers, your quota of 3 workers at once is too small for it"
        )

    def test_used_up_gpu_hours_stop_runs_on_gpus_only(self) -> None:
        people = {"ada": Person(gpu_hours_per_month=100, gpu_hours_used=100)}
        node = KnownNode(node_id="a", host="host-a", slots=Slots(cpus=1, gpus=1))
        on_cpu = Queued(run_id="c", workers=1, gpus_per_worker=0, user="ada")
        assert admit([gpus("g", 1), on_cpu], [], [node], people) == [
            Wait(run_id="g", reason="your quota of 100 GPU-hours this month is used up"),
            Start(run_id="c", placement={"a": 1}),
        ]


class TestPreemption:
    def test_off_unless_the_policy_says_so(self) -> None:
        assert len(admit([gpus("r", 8, priority=1)], [running("x", 8)], [HOST])) == 1

    def test_the_lowest_priority_is_paused_and_the_run_is_reserved_its_slots(self) -> None:
        held = [running("low", 4, priority=-1), running("mid", 4)]
        assert admit([gpus("r", 4, priority=1)], held, [HOST], policy=PAUSES) == [
            Wait(
                run_id="r", reason="needs 4 GPUs, 0 free; 1 run of lower priority is paused for it",
                starts_in_seconds=120,
            ),
            Preempt(run_id="low", for_run_id="r"),
        ]  # fmt: skip

    def test_nobody_is_paused_for_nothing_nor_twice(self) -> None:
        held = [running("low", 4), running("same", 4, priority=1)]
        assert len(admit([gpus("r", 8, priority=1)], held, [HOST], policy=PAUSES)) == 1
        leaving = [replace(held[0], leaving=True), held[1]]
        (decision,) = admit([gpus("r", 4, priority=1)], leaving, [HOST], policy=PAUSES)
        assert isinstance(decision, Wait)
        assert decision.starts_in_seconds == 120

    def test_one_that_ends_in_a_moment_anyway_is_left_alone(self) -> None:
        assert len(admit([gpus("r", 8, priority=1)], [running("x", 8, ends=90)], [HOST], policy=PAUSES)) == 1


NODES = st.lists(st.integers(1, 8), min_size=1, max_size=3).map(
    lambda sizes: [KnownNode(node_id=f"n{i}", host=f"h{i}", slots=Slots(gpus=n)) for i, n in enumerate(sizes)]
)
USERS = st.sampled_from(["ada", "bob", "cyd"])
QUEUES = st.lists(
    st.builds(
        Queued,
        run_id=st.just(""),
        workers=st.integers(1, 12),
        gpus_per_worker=st.just(1),
        user=USERS,
        priority=st.integers(-1, 1),
        waiting_seconds=st.integers(0, 10_000),
        expected_seconds=st.none() | st.integers(1, 1000),
    ),
    max_size=10,
).map(lambda runs: [replace(run, run_id=f"q{i}") for i, run in enumerate(runs)])
HELD = st.lists(
    st.builds(
        Held,
        placement=st.dictionaries(st.sampled_from(["n0", "n1", "n2"]), st.integers(1, 3), min_size=1, max_size=2),
        gpus_per_worker=st.just(1),
        user=USERS,
        priority=st.integers(-1, 1),
        ends_in_seconds=st.none() | st.integers(-5, 1000),
        preemptible=st.booleans(),
        leaving=st.booleans(),
    ),
    max_size=5,
).map(lambda runs: [replace(run, run_id=f"h{i}") for i, run in enumerate(runs)])
PEOPLE = st.dictionaries(
    USERS,
    st.builds(
        Person,
        weight=st.sampled_from([0.5, 1.0, 3.0]),
        max_workers=st.none() | st.integers(1, 12),
        gpu_hours_per_month=st.none() | st.just(10.0),
        gpu_hours_used=st.sampled_from([0.0, 10.0]),
        recent_gpus=st.integers(0, 8),
    ),
)
POLICIES = st.builds(Policy, preemption=st.booleans())


class TestForAnyClusterAndQueue:
    @given(QUEUES, HELD, NODES, PEOPLE, POLICIES)
    def test_no_over_commit_and_all_or_none(self, queue, held, nodes, people, policy) -> None:  # type: ignore[no-untyped-def]
        free = {node.node_id: node.slots.gpus for node in nodes}
        for attempt in held:
            for node_id, workers in attempt.placement.items():
                if node_id in free:
                    free[node_id] -= workers
        workers = {run.run_id: run.workers for run in queue}
        taken = dict.fromkeys(free, 0)
        for decision in admit(queue, held, nodes, people, policy):
            if isinstance(decision, Start):
                assert sum(decision.placement.values()) == workers[decision.run_id]
                for node_id, count in decision.placement.items():
                    assert count >= 1
                    taken[node_id] += count
        assert all(taken[node_id] <= max(0, free[node_id]) for node_id in free)

    @given(QUEUES, HELD, NODES, PEOPLE, POLICIES)
    def test_runs_of_lower_priority_change_nothing_for_those_above(self, queue, held, nodes, people, policy) -> None:  # type: ignore[no-untyped-def]
        above = [run for run in queue if run.priority >= 0]
        ids = {run.run_id for run in above}
        with_all = [d for d in admit(queue, held, nodes, people, policy) if _about(d) in ids]
        assert admit(above, held, nodes, people, policy) == with_all

    @given(QUEUES, HELD, NODES, PEOPLE, POLICIES, st.randoms(use_true_random=False))
    def test_the_order_of_the_input_changes_nothing(  # type: ignore[no-untyped-def]
        self, queue, held, nodes, people, policy, chance: random.Random
    ) -> None:
        once = admit(queue, held, nodes, people, policy)
        assert admit(queue, held, nodes, people, policy) == once
        mixed = [chance.sample(list(part), len(part)) for part in (queue, held, nodes)]
        again = admit(mixed[0], mixed[1], mixed[2], dict(reversed(list(people.items()))), policy)
        by_run = {decision.run_id: decision for decision in once}
        assert {decision.run_id: decision for decision in again} == by_run

    @given(QUEUES, HELD, NODES, PEOPLE, POLICIES)
    def test_quotas_are_kept(self, queue, held, nodes, people, policy) -> None:  # type: ignore[no-untyped-def]
        runs = {run.run_id: run for run in queue}
        started = [runs[d.run_id] for d in admit(queue, held, nodes, people, policy) if isinstance(d, Start)]
        for user, person in people.items():
            new = sum(run.workers for run in started if run.user == user)
            if new and person.max_workers is not None:
                has = sum(sum(attempt.placement.values()) for attempt in held if attempt.user == user)
                assert has + new <= person.max_workers
            if person.gpu_hours_per_month is not None and person.gpu_hours_used >= person.gpu_hours_per_month:
                assert new == 0

    @given(QUEUES, HELD, NODES, PEOPLE)
    def test_only_runs_of_lower_priority_are_paused_once_and_only_where_allowed(  # type: ignore[no-untyped-def]
        self, queue, held, nodes, people
    ) -> None:
        runs, attempts = {run.run_id: run for run in queue}, {attempt.run_id: attempt for attempt in held}
        decided = admit(queue, held, nodes, people, PAUSES)
        paused = [decision for decision in decided if isinstance(decision, Preempt)]
        assert len({decision.run_id for decision in paused}) == len(paused)
        for decision in paused:
            victim = attempts[decision.run_id]
            assert victim.priority < runs[decision.for_run_id].priority
            assert victim.preemptible
            assert not victim.leaving
        waiting = {decision.run_id for decision in decided if isinstance(decision, Wait)}
        assert {decision.for_run_id for decision in paused} <= waiting

    @given(st.integers(1, 12), HELD, NODES)
    def test_none_of_those_paused_could_have_been_spared(  # type: ignore[no-untyped-def]
        self, workers: int, held, nodes
    ) -> None:
        run = gpus("r", workers, priority=1)
        paused = {d.run_id for d in admit([run], held, nodes, policy=PAUSES) if isinstance(d, Preempt)}
        for spared in paused:
            fewer = [replace(attempt, preemptible=attempt.run_id in paused - {spared}) for attempt in held]
            assert not [d for d in admit([run], fewer, nodes, policy=PAUSES) if isinstance(d, Preempt)]

    @given(QUEUES, HELD, NODES)
    def test_every_run_that_fits_the_living_cluster_waits_starts_or_can_never(self, queue, held, nodes) -> None:  # type: ignore[no-untyped-def]
        room = sum(node.slots.gpus for node in nodes)
        for run, decision in zip(queue, admit(queue, held, nodes), strict=True):
            assert decision.run_id == run.run_id
            assert isinstance(decision, NeverFits) == (run.workers > room)
            assert not isinstance(decision, Wait) or len(decision.reason) <= 256


def _about(decision: object) -> str:
    return decision.for_run_id if isinstance(decision, Preempt) else getattr(decision, "run_id", "")
