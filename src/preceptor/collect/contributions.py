"""A clinician in, what has become of their judgements out: how many, how many withdrawn or new, in which datasets."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from preceptor.db.tables.curated import DatasetMember, judgements


def seconds_until_room(session: Session, clinician_id: int, *, per_minute: int) -> int:
    """How long this account must wait for its next judgement; 0 where it gave fewer than `per_minute` in a minute.

    Simulated clinicians never wait: a panel of the demo is faster than people.
    """
    given = sa.and_(
        judgements.c.clinician_id == clinician_id,
        judgements.c.created_at > sa.func.now() - timedelta(minutes=1),
        judgements.c.is_simulated.is_(False),
    )
    age = sa.extract("epoch", sa.func.now() - sa.func.min(judgements.c.created_at))
    count, oldest = session.execute(sa.select(sa.func.count(), age).where(given)).one()
    return max(1, math.ceil(60 - float(oldest))) if count >= per_minute else 0


def contributions(session: Session, clinician_id: int) -> dict[str, Any]:
    """Counts by instrument, and for each dataset how many of this clinician's judgements it holds."""
    mine = judgements.c.clinician_id == clinician_id
    live = judgements.c.withdrawn_at.is_(None)
    by_instrument = session.execute(
        sa.select(judgements.c.instrument, sa.func.count()).where(mine, live).group_by(judgements.c.instrument)
    )
    withdrawn = session.scalar(sa.select(sa.func.count()).select_from(judgements).where(mine, ~live)) or 0
    datasets = session.execute(
        sa.select(DatasetMember.artifact_id, sa.func.count(sa.distinct(DatasetMember.source_id)))
        .join(
            judgements,
            sa.and_(judgements.c.kind == DatasetMember.kind, judgements.c.source_id == DatasetMember.source_id),
        )
        .where(mine)
        .group_by(DatasetMember.artifact_id)
        .order_by(DatasetMember.artifact_id)
    )
    return {
        "judgements": dict(by_instrument.all()),
        "withdrawn": withdrawn,
        "datasets": [{"artifact_id": artifact_id, "judgements": count} for artifact_id, count in datasets],
    }
