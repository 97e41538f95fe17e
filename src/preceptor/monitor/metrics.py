"""Rows without text in, the five numbers of the loop out, each with its count and interval.

Withdrawn and rejected judgements never count. Days are UTC.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session

from preceptor.db.tables.curated import judgements
from preceptor.monitor.measures import (
    Agreement,
    AgreementRate,
    DayVolume,
    FeedbackVolume,
    LoopMetrics,
    RatingDistribution,
)
from preceptor.monitor.training import policy_improvement, reward_accuracy
from preceptor.stats.agreement import agreement_interval
from preceptor.stats.intervals import Interval, cluster_bootstrap_mean, wilson

STARS = (1, 2, 3, 4, 5)
CHOICES = ("a", "b", "tie", "both_bad")


def loop_metrics(
    session: Session, *, agent_name: str | None = None, days: int = 30, now: datetime | None = None, draws: int = 2000
) -> LoopMetrics:
    """All five numbers of one agent, or of all agents together."""
    return LoopMetrics(
        volume=feedback_volume(session, agent_name=agent_name, days=days, now=now),
        ratings=rating_distribution(session, agent_name=agent_name, draws=draws),
        agreement=agreement_rate(session, agent_name=agent_name, draws=draws),
        reward=reward_accuracy(session),
        policy=policy_improvement(session, agent_name=agent_name),
        agents=agent_names(session),
    )


def agent_names(session: Session) -> list[str]:
    """Every agent that was ever judged."""
    column = judgements.c.agent_name
    statement = sa.select(column).where(column.is_not(None)).distinct().order_by(column)
    return [str(name) for name in session.scalars(statement)]


def feedback_volume(
    session: Session, *, agent_name: str | None = None, days: int = 30, now: datetime | None = None
) -> FeedbackVolume:
    """Judgements per day over the last `days` days up to `now` (today when absent)."""
    today = (now or datetime.now(UTC)).astimezone(UTC).date()
    day = sa.cast(sa.func.timezone("UTC", judgements.c.created_at), sa.Date).label("day")
    counts: dict[tuple[date, str], int] = defaultdict(int)
    totals: dict[str, int] = defaultdict(int)
    simulated = 0
    statement = sa.select(
        day,
        judgements.c.kind,
        sa.func.count().label("n"),
        sa.func.count().filter(judgements.c.is_simulated).label("simulated"),
    ).where(*live_judgements(agent_name))
    for row in session.execute(statement.group_by(day, judgements.c.kind)):
        counts[row.day, row.kind] += row.n
        totals[row.kind] += row.n
        simulated += row.simulated
    clinicians = session.scalar(
        sa.select(sa.func.count(judgements.c.clinician_id.distinct())).where(*live_judgements(agent_name))
    )
    listed = [today - timedelta(days=back) for back in range(days - 1, -1, -1)]
    return FeedbackVolume(
        days=[DayVolume(d, counts[d, "feedback"], counts[d, "preference"]) for d in listed],
        feedback=totals["feedback"],
        preferences=totals["preference"],
        simulated=simulated,
        clinicians=int(clinicians or 0),
    )


def rating_distribution(
    session: Session, *, agent_name: str | None = None, draws: int = 2000, seed: int = 0
) -> RatingDistribution:
    """Stars and thumbs, each instrument counted as itself."""
    columns = judgements.c
    statement = sa.select(
        columns.instrument, columns.rating, columns.thumb, columns.clinician_id, sa.func.count().label("n")
    )
    rows = session.execute(
        statement.where(*live_judgements(agent_name), columns.instrument.in_(("stars", "thumbs"))).group_by(
            columns.instrument, columns.rating, columns.thumb, columns.clinician_id
        )
    ).all()
    stars = dict.fromkeys(STARS, 0)
    thumbs = {1: 0, -1: 0}
    values: list[int] = []
    clusters: list[int] = []
    for row in rows:
        if row.instrument == "stars" and row.rating in stars:
            stars[row.rating] += row.n
            values += [row.rating] * row.n
            clusters += [row.clinician_id or 0] * row.n
        elif row.thumb in thumbs:
            thumbs[row.thumb] += row.n
    mean = cluster_bootstrap_mean(values, clusters, seed=seed, draws=draws)
    return RatingDistribution(stars, thumbs[1], thumbs[-1], mean)


def agreement_rate(
    session: Session, *, agent_name: str | None = None, draws: int = 2000, seed: int = 0
) -> AgreementRate:
    """Agreement between clinicians on the same answer (stars) and on the same two answers (comparisons)."""
    columns = judgements.c
    live = live_judgements(agent_name)
    stars = _judged_together(session, columns.rating, [*live, columns.instrument == "stars"])
    choice = sa.func.array_position(sa.literal(list(CHOICES), sa.ARRAY(sa.String)), columns.outcome)
    comparisons = _judged_together(session, choice, [*live, columns.outcome.in_(CHOICES)])
    return AgreementRate(
        stars=_agreement("stars", stars, draws=draws, seed=seed),
        comparisons=_agreement("comparison", comparisons, draws=draws, seed=seed),
    )


def left_choice_share(session: Session, *, agent_name: str | None = None) -> Interval:
    """Share of decided comparisons in which the answer shown first was chosen; far from 0.5, position decides."""
    columns = judgements.c
    row = session.execute(
        sa.select(sa.func.count().filter(columns.outcome == columns.presented_first), sa.func.count()).where(
            *live_judgements(agent_name), columns.outcome.in_(("a", "b")), columns.presented_first.is_not(None)
        )
    ).one()
    return wilson(row[0], row[1])


def live_judgements(agent_name: str | None) -> list[sa.ColumnElement[bool]]:
    conditions: list[sa.ColumnElement[bool]] = [
        judgements.c.withdrawn_at.is_(None),
        judgements.c.review_status != "rejected",
    ]
    if agent_name is not None:
        conditions.append(judgements.c.agent_name == agent_name)
    return conditions


def _judged_together(
    session: Session, value: sa.ColumnElement[Any], conditions: Sequence[sa.ColumnElement[bool]]
) -> list[list[float]]:
    """The judgements of each item that at least two clinicians judged, the newest one of each clinician."""
    columns = judgements.c
    newest = (
        sa.select(columns.content_hash, columns.clinician_id, value.label("value"))
        .where(*conditions, columns.clinician_id.is_not(None))
        .ext(distinct_on(columns.content_hash, columns.clinician_id))
        .order_by(columns.content_hash, columns.clinician_id, columns.created_at.desc())
        .subquery()
    )
    gathered = sa.func.array_agg(newest.c.value).label("gathered")
    rows = session.scalars(sa.select(gathered).group_by(newest.c.content_hash).having(sa.func.count() >= 2))
    return [[float(item) for item in row] for row in rows]


def _agreement(instrument: str, items: list[list[float]], *, draws: int, seed: int) -> Agreement:
    width = max((len(item) for item in items), default=0)
    table = np.full((len(items), width), np.nan)
    for index, item in enumerate(items):
        table[index, : len(item)] = item
    ordered = instrument == "stars"
    scale = STARS if ordered else tuple(range(1, len(CHOICES) + 1))
    return Agreement(
        instrument=instrument,
        items=len(items),
        judgements=sum(len(item) for item in items),
        percent=agreement_interval(table, "percent", draws=draws, seed=seed),
        alpha=agreement_interval(table, "alpha", metric="ordinal" if ordered else "nominal", draws=draws, seed=seed),
        ac=agreement_interval(
            table, "ac", weights="quadratic" if ordered else "identity", categories=scale, draws=draws, seed=seed
        ),
    )
