"""Judgements between two responses: POST /preference creates or replaces one's own; list, read, edit, withdraw."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request
from sqlalchemy.orm import Session
from starlette.responses import JSONResponse, Response

from preceptor.collect.judgements import PREFERENCES, Row
from preceptor.collect.preferences import edit_preference, record_preference
from preceptor.collect.schemas import PreferenceEdit, PreferenceIn, ReviewIn
from preceptor.server.api import judging
from preceptor.server.api.access import CURATORS, RATERS, READERS, IfMatch, beside, expected_revision, json_body_only
from preceptor.server.api.access import rater as as_rater
from preceptor.server.api.idempotency import IdempotencyHeader, Reply, once
from preceptor.server.api.judging import FiltersQuery
from preceptor.server.api.paging import Cursor, Limit
from preceptor.server.api.route import ProblemRoute
from preceptor.server.api.shapes import Page, PreferenceReceipt, Record, ReviewReceipt, problems
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


@router.get("/preferences", response_model=Page, responses=problems())
def list_preferences(
    request: Request,
    filters: FiltersQuery,
    principal: Principal = allow(*READERS),
    found: Installation = Depends(installation),
    cursor: Cursor = None,
    limit: Limit = 50,
) -> JSONResponse:
    """Comparisons newest first: clinicians and services see their own, ML engineers all of them without text."""
    return judging.list_page(request, found, principal, kind=PREFERENCES, filters=filters, cursor=cursor, limit=limit)


@router.get("/preferences/{preference_id}", response_model=Record, responses=problems(404))
def read_preference(
    preference_id: str, principal: Principal = allow(*READERS), found: Installation = Depends(installation)
) -> JSONResponse:
    """One comparison; its ETag is for If-Match."""
    return judging.read_one(found, principal, kind=PREFERENCES, judgement_id=preference_id)


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


@router.delete("/preferences/{preference_id}", status_code=204, responses=problems(404))
def withdraw_preference(
    preference_id: str, principal: Principal = allow(*RATERS), found: Installation = Depends(installation)
) -> Response:
    """Withdraw a comparison: it enters no further dataset. Repeating it changes nothing."""
    return judging.take_back(found, principal, kind=PREFERENCES, judgement_id=preference_id)


@router.post("/preferences/{preference_id}/review", response_model=ReviewReceipt, responses=problems(404, 409))
def review_preference(
    request: Request,
    preference_id: str,
    given: ReviewIn,
    principal: Principal = allow(*CURATORS),
    found: Installation = Depends(installation),
    _key: IdempotencyHeader = None,
) -> Response:
    """Accept or reject a comparison for training."""
    return judging.set_review(request, found, principal, kind=PREFERENCES, judgement_id=preference_id, given=given)
