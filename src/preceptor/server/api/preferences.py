"""Judgements between two responses: POST /preference creates or replaces one's own; list, read, edit, withdraw."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request
from sqlalchemy.orm import Session
from starlette.responses import JSONResponse, Response

from preceptor.collect.judgements import PREFERENCES, Row
from preceptor.collect.preferences import edit_preference, record_preference
from preceptor.collect.schemas import PreferenceEdit, PreferenceIn
from preceptor.server.api import judging
from preceptor.server.api.access import RATERS, IfMatch, beside, expected_revision, json_body_only
from preceptor.server.api.access import rater as as_rater
from preceptor.server.api.idempotency import IdempotencyHeader, Reply, once
from preceptor.server.api.route import ProblemRoute
from preceptor.server.api.shapes import PreferenceReceipt, Record, problems
from preceptor.server.auth import Principal, allow
from preceptor.server.deps import Installation, installation
from preceptor.server.limits import demand_unhurried

router = APIRouter(route_class=ProblemRoute, tags=["preferences"])


@router.post(
    "/preference",
    status_code=201,
    response_model=PreferenceReceipt,
    responses={200: {"model": PreferenceReceipt}, **problems(404, 409, 429)},
    dependencies=[Depends(json_body_only)],
)
def submit_preference(
    request: Request,
    given: PreferenceIn,
    principal: Principal = allow(*RATERS),
    found: Installation = Depends(installation),
    _key: IdempotencyHeader = None,
) -> Response:
    """Compare two responses: `a`, `b`, `tie`, `both_bad` or `cannot_judge`. Only `a` and `b` fill `preferred`.

    The same two responses in the other order are the same comparison.
    """

    def work(session: Session) -> Reply:
        demand_unhurried(session, found, principal)
        row, status = record_preference(session, found.cipher, given=given, rater=as_rater(principal))
        body = {
            "preference_id": row.preference_id,
            "outcome": row.outcome,
            "revision": row.revision,
            "status": status,
        }
        location = beside(request, "preferences", row.preference_id)
        return Reply(201 if status == "created" else 200, body, location=location)

    return once(request, found, principal, body=given, work=work)


@router.patch("/preferences/{preference_id}", response_model=Record, responses=problems(404, 409, 412))
def change_preference(
    preference_id: str,
    given: PreferenceEdit,
    principal: Principal = allow(*RATERS),
    found: Installation = Depends(installation),
    if_match: IfMatch = None,
) -> JSONResponse:
    """Edit one's own comparison; the version before is kept."""
    expected = expected_revision(if_match)

    def edit(session: Session) -> Row:
        return edit_preference(
            session,
            found.cipher,
            preference_id=preference_id,
            given=given,
            rater=as_rater(principal),
            expected_revision=expected,
        )

    return judging.change(found, principal, kind=PREFERENCES, edit=edit)


router.include_router(judging.routes(PREFERENCES, "preference_id"))
