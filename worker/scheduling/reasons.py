"""Why a run waits, in one short sentence for a person: at most 256 characters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from worker.scheduling.words import KnownNode, Queued

MAX_NODES_NAMED = 3
LONGEST_COUNTED = 200
"""Behind more runs than this it only says "at least": a number that changes all the time is of no use to anybody."""
FAR_BEHIND = f"behind at least {LONGEST_COUNTED} earlier runs"


def counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def need(run: Queued) -> str:
    if run.gpus_per_worker:
        return counted(run.workers * run.gpus_per_worker, "GPU")
    return counted(run.workers, "CPU slot")


def why_not_now(run: Queued, rooms: Mapping[str, int], nodes: Sequence[KnownNode]) -> str:
    """`rooms`: how many of its workers find room on each living node."""
    if not nodes:
        return f"needs {need(run)}, no node is known yet"
    roomy = sorted(
        ((rooms[node.node_id], node.host) for node in nodes if rooms.get(node.node_id)),
        key=lambda pair: (-pair[0], pair[1]),
    )
    named = ", ".join(f"{room} free on {host[:40]}" for room, host in roomy[:MAX_NODES_NAMED]) or "0 free"
    rest = roomy[MAX_NODES_NAMED:]
    more = f" and {sum(room for room, _ in rest)} on {counted(len(rest), 'other node')}" if rest else ""
    away = sum(not node.alive and not node.drained for node in nodes)
    drained = sorted({node.host for node in nodes if node.drained})
    beside = [counted(away, "node") + " away"] if away else []
    if drained:
        others = (
            f" and {counted(len(drained) - MAX_NODES_NAMED, 'other node')}" if len(drained) > MAX_NODES_NAMED else ""
        )
        beside.append(f"{', '.join(host[:40] for host in drained[:MAX_NODES_NAMED])}{others} drained")
    return f"needs {need(run)}, {named}{more}" + (f" ({', '.join(beside)})" if beside else "")


def behind(priority: int, waiting: Mapping[int, int]) -> str:
    """`waiting`: how many runs wait before it, by priority."""
    ahead = sum(waiting.values())
    if ahead > LONGEST_COUNTED:
        return FAR_BEHIND
    higher = sum(count for other, count in waiting.items() if other > priority)
    if higher == ahead:
        return f"behind {counted(higher, 'run')} of higher priority"
    return f"behind {counted(ahead, 'earlier run')}" + (f", {higher} of them of higher priority" if higher else "")


def reserved(in_seconds: float, last_to_end: str | None) -> str:
    """To be added to what it needs: when it starts, and on whose end that hangs."""
    when = f"in about {rough_span(in_seconds)}"
    return f"reserved: starts when run {last_to_end[:16]} ends {when}" if last_to_end else f"reserved: starts {when}"


def rough_span(seconds: float) -> str:
    """As exact as an estimate deserves, so that it does not change with every look."""
    minutes = seconds / 60
    if minutes < 20:
        return f"{max(1, round(minutes))} min"
    if minutes < 90:
        return f"{5 * round(minutes / 5)} min"
    hours = minutes / 60
    return f"{round(hours)} h" if hours < 36 else f"{round(hours / 24)} days"
