"""A clinician in, what has become of their judgements out: how many, how many withdrawn, which datasets hold them."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from preceptor.db.tables.curated import DatasetMember, judgements


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
