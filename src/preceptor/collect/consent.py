"""A clinician's consent events in and out; the latest one counts, and no event means no."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.orm import Session

from preceptor.db.tables.ops import Consent

POLICY_VERSION = "1"


def grant_consent(session: Session, clinician_id: int, *, scope: str, policy_version: str = POLICY_VERSION) -> Consent:
    """Record that a clinician agrees that their judgements are used for `quality_only` or `internal_training`."""
    return _event(session, clinician_id, scope=scope, policy_version=policy_version, granted=True)


def withdraw_consent(session: Session, clinician_id: int) -> Consent:
    """Record that a clinician takes consent back: nothing of theirs enters a new dataset."""
    latest = latest_consent(session, clinician_id)
    version = latest.policy_version if latest is not None else POLICY_VERSION
    scope = latest.scope if latest is not None else "internal_training"
    return _event(session, clinician_id, scope=scope, policy_version=version, granted=False)


def latest_consent(session: Session, clinician_id: int) -> Consent | None:
    return session.scalar(
        sa.select(Consent).where(Consent.clinician_id == clinician_id).order_by(Consent.id.desc()).limit(1)
    )


def consent_scope(session: Session, clinician_id: int) -> str | None:
    """The scope in force, or None."""
    latest = latest_consent(session, clinician_id)
    return latest.scope if latest is not None and latest.granted else None


def _event(session: Session, clinician_id: int, *, scope: str, policy_version: str, granted: bool) -> Consent:
    event = Consent(clinician_id=clinician_id, scope=scope, policy_version=policy_version, granted=granted)
    session.add(event)
    session.flush()
    return event
