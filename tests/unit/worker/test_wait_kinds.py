"""Every sentence that admission writes about a waiting run is counted as something that an operator understands."""

from __future__ import annotations

import ast
import inspect

from api.runs.wait_kinds import wait_kind
from worker import launch
from worker.admission import Held, KnownNode, Person, Queued, Slots, Wait, admit
from worker.scheduling.reasons import FAR_BEHIND, behind, why_not_now

NODE = KnownNode(node_id="a", host="host-a", slots=Slots(cpus=4))


def queued(run_id: str, workers: int, *, gpus: int = 0, user: str = "u") -> Queued:
    return Queued(run_id=run_id, workers=workers, gpus_per_worker=gpus, user=user)


def waits(queue: list[Queued], held: list[Held], person: Person, nodes: list[KnownNode] | None = None) -> list[str]:
    decisions = admit(queue, held, nodes or [NODE], {"u": person})
    return [decision.reason for decision in decisions if isinstance(decision, Wait)]


def test_slots_and_places() -> None:
    for reason in (why_not_now(queued("r", 2), {"a": 1}, [NODE]), why_not_now(queued("r", 2), {}, [])):
        assert wait_kind(reason) == "slots", reason
    for reason in (behind(0, {0: 3}), behind(0, {5: 3}), behind(0, {0: 2, 1: 1}), FAR_BEHIND):
        assert wait_kind(reason) == "behind", reason
    reasons = waits([queued("first", 3), queued("second", 3)], [Held(placement={"a": 2}, gpus_per_worker=0)], Person())
    assert [wait_kind(reason) for reason in reasons] == ["slots", "behind"]


def test_quotas() -> None:
    mine = [Held(placement={"a": 1}, gpus_per_worker=0, user="u")]
    all_mine = [Held(placement={"a": 2}, gpus_per_worker=0, user="u")]
    two = Person(max_workers=2)
    reasons = waits([queued("r", 3)], [], two)
    reasons += waits([queued("r", 2), queued("s", 1)], mine, two)
    reasons += waits([queued("r", 1)], all_mine, two)
    gpus = KnownNode(node_id="g", host="host-g", slots=Slots(gpus=4))
    spent = Person(gpu_hours_per_month=5, gpu_hours_used=6)
    reasons += waits([queued("r", 1, gpus=1)], [], spent, [gpus])
    assert len(set(reasons)) == 5, reasons
    assert {wait_kind(reason) for reason in reasons} == {"quota"}


def test_parts_that_are_away() -> None:
    """What `launch` says of all waiting runs at once, read from its source."""
    calls = [node for node in ast.walk(ast.parse(inspect.getsource(launch))) if isinstance(node, ast.Call)]
    said = [
        str(call.args[1].value)
        for call in calls
        if isinstance(call.func, ast.Name) and call.func.id == "_all_wait" and isinstance(call.args[1], ast.Constant)
    ]
    assert sorted(wait_kind(reason) for reason in said) == ["api", "ray"]


def test_what_nobody_has_looked_at_and_what_backs_off() -> None:
    assert wait_kind(None) == "new"
    assert wait_kind("needs 4 GPUs, 0 free", backing_off=True) == "back_off"
    assert wait_kind("a sentence of another version") == "other"
