"""The audit trail for those who watch: who did what to which object, without any clinical text."""

from __future__ import annotations

import sqlalchemy as sa
from fastapi import APIRouter, Depends, Request
from starlette.responses import JSONResponse

from preceptor.collect.records import utc
from preceptor.db.engine import session_scope
from preceptor.db.tables.ops import AuditEvent
from preceptor.server.api.paging import Cursor, Limit, page, read_cursor
from preceptor.server.api.route import ProblemRoute
from preceptor.server.api.shapes import Page, problems
from preceptor.server.auth import Principal, allow
from preceptor.server.deps import Installation, installation

router = APIRouter(route_class=ProblemRoute, tags=["audit"])


@router.get("/audit", response_model=Page, responses=problems())
def list_audit(
    request: Request,
    _principal: Principal = allow("auditor", "admin"),
    found: Installation = Depends(installation),
    cursor: Cursor = None,
    limit: Limit = 50,
) -> JSONResponse:
    """Audit events, newest first."""
    before = read_cursor(cursor)
    query = sa.select(AuditEvent).order_by(AuditEvent.id.desc()).limit(limit + 1)
    if before is not None:
        query = query.where(AuditEvent.id < before)
    with session_scope(found.engine) as session:
        rows = session.scalars(query).all()
    return page(
        request,
        rows,
        limit=limit,
        key=lambda row: row.id,
        show=lambda row: {
            "at": utc(row.at),
            "actor_id": row.actor_id,
            "action": row.action,
            "target": row.target,
            "detail": row.detail,
        },
    )
