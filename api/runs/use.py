"""What each user has had of the cluster: derived from the attempts in one query, so that nothing has to be kept up.

Attempts of a run that is removed for good go to `past_use` in the same transaction: deleting runs gives no quota back.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.orm import Session

OLDEST_HALF_LIVES = 10
"""What was had before that counts for a thousandth and is not looked up."""


@dataclass(frozen=True, kw_only=True)
class Use:
    """By one user, up to now."""

    gpu_hours_this_month: float = 0.0
    """Since the first of the month, by UTC, from the start of each attempt until Ray had freed its slots."""
    recent_cpus: float = 0.0
    recent_gpus: float = 0.0
    """Slots held on average, where what was so long ago as the half-life counts half."""


# An attempt with s slots from a to b adds s * (2^-((now - b) / h) - 2^-((now - a) / h)) to the exponential average.
QUERY = text(
    """
    WITH month AS NOT MATERIALIZED (SELECT date_trunc('month', now() AT TIME ZONE 'utc') AT TIME ZONE 'utc' AS start),
    had AS (
        SELECT user_id, world_size, gpus_per_worker, attempts.created_at, slots_released_at
        FROM attempts JOIN runs ON runs.id = attempts.run_id, month
        WHERE slots_released_at IS NULL
            OR slots_released_at >= least(month.start, now() - make_interval(secs => :oldest))
        UNION ALL
        SELECT user_id, world_size, gpus_per_worker, created_at, slots_released_at
        FROM past_use, month
        WHERE slots_released_at >= least(month.start, now() - make_interval(secs => :oldest))
    ), spans AS (
        SELECT user_id,
            world_size * gpus_per_worker AS gpus,
            CASE WHEN gpus_per_worker = 0 THEN world_size ELSE 0 END AS cpus,
            extract(epoch FROM now() - created_at) / :half_life AS began,
            extract(epoch FROM now() - coalesce(slots_released_at, now())) / :half_life AS ended,
            extract(epoch FROM coalesce(slots_released_at, now()) - greatest(created_at, month.start)) AS seconds
        FROM had, month
    ), weighed AS (
        SELECT user_id, gpus, cpus, greatest(seconds, 0) AS seconds,
            power(0.5::float8, least(ended, 100)::float8) - power(0.5::float8, least(began, 100)::float8) AS weight
        FROM spans
    )
    SELECT user_id, sum(gpus * seconds) / 3600, sum(cpus * weight), sum(gpus * weight) FROM weighed GROUP BY user_id
    """
)


def use_by_user(session: Session, half_life_seconds: float) -> dict[int, Use]:
    """By user id; users who have had nothing are not in it."""
    rows = session.execute(QUERY, {"half_life": half_life_seconds, "oldest": OLDEST_HALF_LIVES * half_life_seconds})
    return {
        user_id: Use(gpu_hours_this_month=float(hours), recent_cpus=max(0.0, cpus), recent_gpus=max(0.0, gpus))
        for user_id, hours, cpus, gpus in rows
    }


def keep_use(session: Session, run_id: str) -> None:
    """Before a run is removed whose row is locked: what its attempts had stays. Does not commit."""
    session.execute(
        text(
            """
            INSERT INTO past_use (user_id, world_size, gpus_per_worker, created_at, slots_released_at)
            SELECT runs.user_id, world_size, gpus_per_worker, attempts.created_at, coalesce(slots_released_at, now())
            FROM attempts JOIN runs ON runs.id = attempts.run_id WHERE runs.id = :run_id
            """
        ),
        {"run_id": run_id},
    )


def forget_old_use(session: Session, half_life_seconds: float) -> None:
    """Drops what was kept and no longer counts. Does not commit."""
    session.execute(
        text(
            """
            DELETE FROM past_use WHERE slots_released_at < least(
                date_trunc('month', now() AT TIME ZONE 'utc') AT TIME ZONE 'utc',
                now() - make_interval(secs => :oldest))
            """
        ),
        {"oldest": OLDEST_HALF_LIVES * half_life_seconds},
    )
