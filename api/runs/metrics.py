"""Reads metrics as columns, with a bounded number of entries, the same for the same points.

A series longer than the bound is cut into buckets of 2^n steps that start at multiples of their width, so that a
growing run only ever fills its last bucket. Each gives its last value, its lowest and its highest: a spike stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import BigInteger, ColumnElement, cast, func, select
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.orm import Session

from api.db.tables import MetricName, MetricPoint
from api.runs.schemas import MetricColumns, Series
from api.runs.validity import points_in, ranges_of
from api.runs.views import finite
from trainer.contract.metrics import CATALOGUE

MAX_SERIES = 64
CATALOGUE_ORDER = {metric.name: place for place, metric in enumerate(CATALOGUE)}


@dataclass(frozen=True, kw_only=True)
class Extent:
    """What a series holds: its points, counted, and their first and last step."""

    metric_id: int
    name: str
    points: int
    first: int
    last: int


def columns(session: Session, run_id: str, *, names: Sequence[str] = (), max_points: int) -> MetricColumns:
    """Valid points of the named metrics, or of all (the first 64 in catalogue order); without points, no series."""
    valid = points_in(run_id, ranges_of(session, run_id))
    extents = _extents(session, valid, names)
    series = []
    for extent in extents[:MAX_SERIES]:
        width = bucket_width(extent.first, extent.last, max_points) if extent.points > max_points else 1
        series.append(_all(session, valid, extent) if width == 1 else _bucketed(session, valid, extent, width))
    return MetricColumns(run_id=run_id, series=series)


def bucket_width(first: int, last: int, most: int) -> int:
    """The smallest power of two that cuts first..last into at most `most` buckets; pure."""
    assert most >= 2, "two buckets may be needed where the range straddles a multiple of every width"
    width = 1
    while last // width - first // width + 1 > most:
        width *= 2
    return width


def _extents(session: Session, valid: ColumnElement[bool], names: Sequence[str]) -> list[Extent]:
    query = (
        select(
            MetricPoint.metric_id,
            MetricName.name,
            func.count(),
            func.min(MetricPoint.step),
            func.max(MetricPoint.step),
        )
        .join(MetricName, MetricName.id == MetricPoint.metric_id)
        .where(valid)
        .group_by(MetricPoint.metric_id, MetricName.name)
    )
    if names:
        query = query.where(MetricName.name.in_(names))
    extents = [
        Extent(metric_id=metric_id, name=name, points=points, first=first, last=last)
        for metric_id, name, points, first, last in session.execute(query)
    ]
    return sorted(extents, key=lambda extent: (CATALOGUE_ORDER.get(extent.name, len(CATALOGUE)), extent.name))


def _all(session: Session, valid: ColumnElement[bool], extent: Extent) -> Series:
    rows = session.execute(
        select(MetricPoint.step, MetricPoint.value)
        .where(valid, MetricPoint.metric_id == extent.metric_id)
        .order_by(MetricPoint.step)
    )
    points = rows.all()
    return Series(
        name=extent.name,
        steps=[step for step, _ in points],
        values=[finite(value) for _, value in points],
        minima=None,
        maxima=None,
        bucket_steps=1,
    )


def _bucketed(session: Session, valid: ColumnElement[bool], extent: Extent, width: int) -> Series:
    # SQLAlchemy's own `/` is true division; integers of PostgreSQL divide downwards, which is what a bucket is.
    bucket = MetricPoint.step.op("/")(cast(width, BigInteger))
    is_finite = MetricPoint.value.between(-1.7e308, 1.7e308)
    newest_first = func.array_agg(aggregate_order_by(MetricPoint.value, MetricPoint.step.desc()))
    rows = session.execute(
        select(
            func.max(MetricPoint.step),
            newest_first[1],
            func.min(MetricPoint.value).filter(is_finite),
            func.max(MetricPoint.value).filter(is_finite),
        )
        .where(valid, MetricPoint.metric_id == extent.metric_id)
        .group_by(bucket)
        .order_by(bucket)
    )
    points = rows.all()
    return Series(
        name=extent.name,
        steps=[row[0] for row in points],
        values=[finite(row[1]) for row in points],
        minima=[row[2] for row in points],
        maxima=[row[3] for row in points],
        bucket_steps=width,
    )
