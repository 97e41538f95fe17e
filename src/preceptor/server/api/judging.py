"""What feedback and preferences have in common at the door: list, read, review and withdraw, each audited."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

from fastapi import Depends, Query, Request
from pydantic import AwareDatetime
from sqlalchemy.orm import Session
from starlette.responses import JSONResponse, Response

from preceptor.collect import judgements
from preceptor.collect.judgements import Kind, Row
from preceptor.collect.schemas import ReviewIn
from preceptor.collect.store import Filters
from preceptor.db import audit
from preceptor.db.engine import session_scope
from preceptor.server.api.access import rater
from preceptor.server.api.idempotency import Reply, once
from preceptor.server.api.paging import page, read_cursor
from preceptor.server.auth import Principal
from preceptor.server.deps import Installation

Short = Annotated[str | None, Query(max_length=200, pattern=r"^[^\x00-\x1f]*$")]


def read_filters(
    agent_name: Short = None,
    session_id: Short = None,
    review_status: Annotated[Literal["new", "accepted", "rejected"] | None, Query()] = None,
    instrument: Annotated[Literal["stars", "thumbs", "comment", "correction"] | None, Query()] = None,
    created_from: Annotated[AwareDatetime | None, Query()] = None,
    created_to: Annotated[AwareDatetime | None, Query()] = None,
    include_withdrawn: Annotated[bool, Query()] = False,
) -> Filters:
    """The filters of a listing or an export."""
    return Filters(
        agent_name=agent_name,
        session_id=session_id,
        review_status=review_status,
        instrument=instrument,
        created_from=created_from,
        created_to=created_to,
        include_withdrawn=include_withdrawn,
    )


FiltersQuery = Annotated[Filters, Depends(read_filters)]


def list_page(
    request: Request,
    found: Installation,
    principal: Principal,
    *,
    kind: Kind,
    filters: Filters,
    cursor: str | None,
    limit: int,
) -> JSONResponse:
    """A page of judgements; that raw text was read is noted with the count."""
    who, before = rater(principal), read_cursor(cursor)
    with session_scope(found.engine) as session:
        rows = judgements.listing(session, kind, rater=who, filters=filters, before=before, limit=limit + 1)
        read = min(len(rows), limit)
        audit.record(session, actor_id=principal.user_id, action="text.list", target=kind.name, count=read)
        return page(
            request,
            rows,
            limit=limit,
            key=lambda row: row.id,
            show=lambda row: judgements.show(row, kind, cipher=found.cipher, rater=who),
        )


def read_one(found: Installation, principal: Principal, *, kind: Kind, judgement_id: str) -> JSONResponse:
    """One judgement with its ETag."""
    who = rater(principal)
    with session_scope(found.engine) as session:
        row = judgements.find(session, kind, judgement_id, rater=who)
        audit.record(session, actor_id=principal.user_id, action="text.read", target=judgement_id)
        return shown(row, found, principal, kind=kind)


def shown(row: Row, found: Installation, principal: Principal, *, kind: Kind) -> JSONResponse:
    body = judgements.show(row, kind, cipher=found.cipher, rater=rater(principal))
    return JSONResponse(body, headers={"ETag": f'"{row.revision}"'})


def change(found: Installation, principal: Principal, *, kind: Kind, edit: Callable[[Session], Row]) -> JSONResponse:
    """Apply an edit and answer with the new record."""
    with session_scope(found.engine) as session:
        row = edit(session)
        audit.record(session, actor_id=principal.user_id, action=f"{kind.name}.edit", target=judgements.identify(row))
        return shown(row, found, principal, kind=kind)


def set_review(
    request: Request, found: Installation, principal: Principal, *, kind: Kind, judgement_id: str, given: ReviewIn
) -> Response:
    """Note a curator's verdict."""

    def work(session: Session) -> Reply:
        status = given.review_status
        row = judgements.review(session, kind, judgement_id, rater=rater(principal), status=status)
        audit.record(
            session, actor_id=principal.user_id, action=f"{kind.name}.review", target=judgement_id, status=status
        )
        return Reply(200, {"id": judgements.identify(row), "review_status": row.review_status})

    return once(request, found, principal, body=given, work=work)


def take_back(found: Installation, principal: Principal, *, kind: Kind, judgement_id: str) -> Response:
    """Withdraw a judgement."""
    with session_scope(found.engine) as session:
        judgements.withdraw(session, kind, judgement_id, rater=rater(principal))
        audit.record(session, actor_id=principal.user_id, action=f"{kind.name}.withdraw", target=judgement_id)
    return Response(status_code=204)
