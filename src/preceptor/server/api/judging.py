"""A kind of judgement in, the routes that feedback and preferences have in common out: list, read, withdraw, review."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path, Query, Request
from pydantic import AwareDatetime
from sqlalchemy.orm import Session
from starlette.responses import JSONResponse, Response

from preceptor.collect import judgements
from preceptor.collect.judgements import Kind, Row
from preceptor.collect.schemas import ReviewIn
from preceptor.collect.store import Filters
from preceptor.db import audit
from preceptor.db.engine import session_scope
from preceptor.server.api.access import CURATORS, RATERS, READERS, rater
from preceptor.server.api.idempotency import IdempotencyHeader, Reply, once
from preceptor.server.api.paging import Cursor, Limit, page, read_cursor
from preceptor.server.api.route import ProblemRoute
from preceptor.server.api.shapes import Page, Record, ReviewReceipt, problems
from preceptor.server.auth import Principal, allow
from preceptor.server.deps import Installation, installation

Short = Annotated[str | None, Query(max_length=200, pattern=r"^[^\x00-\x1f]*$")]


async def read_filters(
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


def routes(kind: Kind, identifier: str) -> APIRouter:
    """The routes of one kind; `identifier` is the name of its public id. Every reading and change is audited."""
    router = APIRouter(route_class=ProblemRoute)
    one = f"/{kind.name}/{{{identifier}}}"

    @router.get(f"/{kind.name}", response_model=Page, responses=problems())
    def list_page(
        request: Request,
        filters: FiltersQuery,
        principal: Principal = allow(*READERS),
        found: Installation = Depends(installation),
        cursor: Cursor = None,
        limit: Limit = 50,
    ) -> JSONResponse:
        """Judgements newest first: clinicians and services see their own, ML engineers all of them without text."""
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

    @router.get(one, response_model=Record, responses=problems(404))
    def read_one(
        judgement_id: str = Path(alias=identifier),
        principal: Principal = allow(*READERS),
        found: Installation = Depends(installation),
    ) -> JSONResponse:
        """One judgement; its ETag is for If-Match."""
        with session_scope(found.engine) as session:
            row = judgements.find(session, kind, judgement_id, rater=rater(principal))
            audit.record(session, actor_id=principal.user_id, action="text.read", target=judgement_id)
            return _shown(row, found, principal, kind=kind)

    @router.delete(one, status_code=204, responses=problems(404))
    def withdraw(
        judgement_id: str = Path(alias=identifier),
        principal: Principal = allow(*RATERS),
        found: Installation = Depends(installation),
    ) -> Response:
        """Withdraw a judgement: it enters no further dataset. Repeating it changes nothing."""
        with session_scope(found.engine) as session:
            judgements.withdraw(session, kind, judgement_id, rater=rater(principal))
            audit.record(session, actor_id=principal.user_id, action=f"{kind.name}.withdraw", target=judgement_id)
        return Response(status_code=204)

    @router.post(f"{one}/review", response_model=ReviewReceipt, responses=problems(404, 409))
    def review(
        request: Request,
        given: ReviewIn,
        judgement_id: str = Path(alias=identifier),
        principal: Principal = allow(*CURATORS),
        found: Installation = Depends(installation),
        _key: IdempotencyHeader = None,
    ) -> Response:
        """Accept or reject a judgement for training."""

        def work(session: Session) -> Reply:
            status = given.review_status
            row = judgements.review(session, kind, judgement_id, rater=rater(principal), status=status)
            audit.record(
                session, actor_id=principal.user_id, action=f"{kind.name}.review", target=judgement_id, status=status
            )
            return Reply(200, {"id": judgements.identify(row), "review_status": row.review_status})

        return once(request, found, principal, body=given, work=work)

    return router


def change(found: Installation, principal: Principal, *, kind: Kind, edit: Callable[[Session], Row]) -> JSONResponse:
    """Apply an edit and answer with the new record."""
    with session_scope(found.engine) as session:
        row = edit(session)
        audit.record(session, actor_id=principal.user_id, action=f"{kind.name}.edit", target=judgements.identify(row))
        return _shown(row, found, principal, kind=kind)


def _shown(row: Row, found: Installation, principal: Principal, *, kind: Kind) -> JSONResponse:
    body = judgements.show(row, kind, cipher=found.cipher, rater=rater(principal))
    return JSONResponse(body, headers={"ETag": f'"{row.revision}"'})
