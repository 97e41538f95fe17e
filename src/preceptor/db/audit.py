"""One action in, one row of the append-only audit trail out, in the caller's transaction."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from preceptor.db.tables.ops import AuditEvent


def record(session: Session, *, actor_id: int | None, action: str, target: str, **detail: Any) -> None:
    """Note who did what to which object. `detail` holds ids, counts and filter values, never clinical text."""
    session.add(AuditEvent(actor_id=actor_id, action=action, target=target, detail=detail))
