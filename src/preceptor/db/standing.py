"""The judgements and the consent events as they are now in, the judgements that may still be learned from out."""

from __future__ import annotations

import sqlalchemy as sa

from preceptor.db.tables.curated import judgements
from preceptor.db.tables.ops import Consent


def standing_judgements() -> sa.Subquery:
    """`kind, source_id` of each judgement that is neither withdrawn nor rejected in review, and whose clinician has not
    withdrawn consent to training; the latest consent event counts.
    """
    newest = sa.select(sa.func.max(Consent.id)).group_by(Consent.clinician_id)
    latest = sa.select(Consent.clinician_id, Consent.granted, Consent.scope).where(Consent.id.in_(newest)).subquery()
    allowed = sa.or_(
        latest.c.granted.is_(None), sa.and_(latest.c.granted.is_(True), latest.c.scope == "internal_training")
    )
    return (
        sa.select(judgements.c.kind, judgements.c.source_id)
        .outerjoin(latest, latest.c.clinician_id == judgements.c.clinician_id)
        .where(judgements.c.withdrawn_at.is_(None), allowed)
        .where(judgements.c.review_status.is_distinct_from("rejected"))
        .subquery()
    )
