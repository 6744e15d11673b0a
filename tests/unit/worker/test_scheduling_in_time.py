"""The same decisions one after the other, while runs come and end: reservations are kept, and nobody starves."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from worker.admission import Held, KnownNode, Policy, Queued, Slots, Start, Wait, admit

NODES = [KnownNode(node_id=f"n{i}", host=f"h{i}", slots=Slots(gpus=4)) for i in range(2)]
GPUS = 8


@dataclass(frozen=True)
class Job:
    run_id: str
    arrives: int
    workers: int
    seconds: int
    user: str = "ada"
    priority: int = 0


@dataclass
class Simulation:
    """A cluster in whole seconds; `knows`: whether lengths and ends are told."""

    jobs: list[Job]
    knows: bool = True
    policy: Policy = field(default_factory=Policy)
    started: dict[str, int] = field(default_factory=dict)
    promised: dict[str, float] = field(default_factory=dict)
    """By run, the first time it was told that it would start."""

    def runs_until(self, end: int) -> None:
        running: dict[str, tuple[Job, dict[str, int]]] = {}
        for now in range(end):
            running = {k: (j, p) for k, (j, p) in running.items() if self.started[k] + j.seconds > now}
            queue = [job for job in self.jobs if job.arrives <= now and job.run_id not in self.started]
            if not queue:
                continue
            held = [
                Held(
                    placement=placement, gpus_per_worker=1, run_id=job.run_id, user=job.user, priority=job.priority,
                    ends_in_seconds=self.started[job.run_id] + job.seconds - now if self.knows else None,
                )
                for job, placement in running.values()
            ]  # fmt: skip
            by_id = {job.run_id: job for job in queue}
            for decision in admit([self._queued(job, now) for job in queue], held, NODES, policy=self.policy):
                if isinstance(decision, Start):
                    self.started[decision.run_id] = now
                    running[decision.run_id] = (by_id[decision.run_id], decision.placement)
                elif isinstance(decision, Wait) and decision.starts_in_seconds is not None:
                    self.promised.setdefault(decision.run_id, now + decision.starts_in_seconds)
            in_use = sum(job.workers for job, _ in running.values())
            assert in_use <= GPUS

    def _queued(self, job: Job, now: int) -> Queued:
        return Queued(
            run_id=job.run_id, workers=job.workers, gpus_per_worker=1, user=job.user, priority=job.priority,
            waiting_seconds=now - job.arrives, expected_seconds=job.seconds if self.knows else None,
        )  # fmt: skip


ARRIVALS = st.lists(st.tuples(st.integers(0, 3), st.integers(1, GPUS), st.integers(1, 9)), min_size=1, max_size=14)


def in_sequence(found: list[tuple[int, int, int]]) -> list[Job]:
    at, made = 0, []
    for place, (gap, workers, seconds) in enumerate(found):
        at += gap
        made.append(Job(run_id=f"r{place:02d}", arrives=at, workers=workers, seconds=seconds))
    return made


class TestReservationsAreKept:
    @given(ARRIVALS)
    def test_back_fill_delays_no_reserved_start(self, found: list[tuple[int, int, int]]) -> None:
        """Later runs of the same user and priority come all the time; ends are as expected."""
        simulation = Simulation(in_sequence(found))
        simulation.runs_until(300)
        assert set(simulation.started) == {job.run_id for job in simulation.jobs}
        for run_id, promised in simulation.promised.items():
            assert simulation.started[run_id] <= promised

    @given(ARRIVALS)
    def test_where_nothing_is_known_runs_start_in_the_order_they_came(self, found: list[tuple[int, int, int]]) -> None:
        simulation = Simulation(in_sequence(found), knows=False)
        simulation.runs_until(300)
        starts = [simulation.started[job.run_id] for job in simulation.jobs]
        assert starts == sorted(starts)


class TestNobodyStarves:
    @settings(max_examples=20)
    @given(st.integers(0, 5), st.integers(1, 4), st.booleans())
    def test_a_run_of_the_whole_cluster_among_ever_new_small_runs_of_ever_new_users(
        self, arrives: int, seconds: int, knows: bool
    ) -> None:
        """Each newcomer has used nothing, so that each is before the heavy user until patience wins."""
        stream = [
            Job(run_id=f"s{at}-{i}", arrives=at, workers=2, seconds=seconds + 2, user=f"new-{at}-{i}")
            for at in range(150)
            for i in range(2)
        ]
        mine = [Job(run_id="mine", arrives=0, workers=1, seconds=400, user="heavy")]
        large = Job(run_id="large", arrives=arrives, workers=GPUS - 1, seconds=5, user="heavy")
        simulation = Simulation([*mine, large, *stream], knows=knows, policy=Policy(patience_seconds=30))
        simulation.runs_until(150)
        assert "large" in simulation.started

    @given(ARRIVALS, st.lists(st.sampled_from(["ada", "bob", "cyd"]), min_size=14, max_size=14), st.booleans())
    def test_everybody_starts_once_arrivals_cease(
        self, found: list[tuple[int, int, int]], users: list[str], knows: bool
    ) -> None:
        jobs = [
            Job(job.run_id, job.arrives, job.workers, job.seconds, user=user, priority=place % 2)
            for place, (job, user) in enumerate(zip(in_sequence(found), users, strict=False))
        ]
        simulation = Simulation(jobs, knows=knows)
        simulation.runs_until(300)
        assert set(simulation.started) == {job.run_id for job in jobs}
