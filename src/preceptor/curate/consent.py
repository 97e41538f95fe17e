"""A judgement's source, review and consent in, whether it may be learned from and why not out.

The latest consent event of a clinician counts and no event means no, except for judgements that came in by plain SQL
or by an import: for those the operator answers, unless the clinician has said otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.orm import Session

from preceptor.db.tables.ops import Consent

TRAINING_SCOPE = "internal_training"
OPERATOR_SOURCES = frozenset({"seed", "import"})


@dataclass(frozen=True, slots=True)
class ConsentState:
    """The latest consent event of one clinician."""

    granted: bool
    scope: str


def latest_consents(session: Session) -> dict[int, ConsentState]:
    """Return the latest consent event of every clinician who has one."""
    newest = sa.select(sa.func.max(Consent.id)).group_by(Consent.clinician_id)
    statement = sa.select(Consent.clinician_id, Consent.granted, Consent.scope).where(Consent.id.in_(newest))
    return {clinician: ConsentState(granted, scope) for clinician, granted, scope in session.execute(statement)}


def reason_against(
    *, withdrawn: bool, review_status: str, source: str, clinician_id: int | None, consent: ConsentState | None
) -> str | None:
    """Return why a judgement may not be learned from, or None where it may."""
    if withdrawn:
        return "withdrawn"
    if review_status == "rejected":
        return "rejected in review"
    if consent is None:
        by_operator = source in OPERATOR_SOURCES
        return None if by_operator else ("no consent" if clinician_id is not None else "no clinician")
    if not consent.granted:
        return "consent withdrawn"
    return None if consent.scope == TRAINING_SCOPE else "consent does not cover training"
