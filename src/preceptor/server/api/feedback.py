"""Judgements of one response: POST /feedback creates or replaces one's own; list, read, edit, review, withdraw."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request
from sqlalchemy.orm import Session
from starlette.responses import JSONResponse, Response

from preceptor.collect.feedback import edit_feedback, record_feedback
from preceptor.collect.judgements import FEEDBACK, Row
from preceptor.collect.schemas import FeedbackEdit, FeedbackIn
from preceptor.server.api import judging
from preceptor.server.api.access import RATERS, IfMatch, beside, expected_revision, json_body_only
from preceptor.server.api.access import rater as as_rater
from preceptor.server.api.idempotency import IdempotencyHeader, Reply, once
from preceptor.server.api.route import ProblemRoute
from preceptor.server.api.shapes import FeedbackReceipt, Record, problems
from preceptor.server.auth import Principal, allow
from preceptor.server.deps import Installation, installation
from preceptor.server.limits import demand_unhurried

router = APIRouter(route_class=ProblemRoute, tags=["feedback"])


@router.post(
    "/feedback",
    status_code=201,
    response_model=FeedbackReceipt,
    responses={200: {"model": FeedbackReceipt}, **problems(404, 409, 429)},
    dependencies=[Depends(json_body_only)],
)
def submit_feedback(
    request: Request,
    given: FeedbackIn,
    principal: Principal = allow(*RATERS),
    found: Installation = Depends(installation),
    _key: IdempotencyHeader = None,
) -> Response:
    """Judge one response. 201 when anything was new, 200 when it only replaced or repeated one's own judgement.

    Each instrument of the request becomes a row of its own: stars, thumbs, correction, or a comment alone. The first
    of them is the primary row; comment, harm and reasons go with it.
    """

    def work(session: Session) -> Reply:
        demand_unhurried(session, found, principal)
        landed = record_feedback(session, found.cipher, given=given, rater=as_rater(principal))
        primary = landed[0].row
        body = {
            "feedback_id": primary.feedback_id,
            "feedback_type": primary.feedback_type,
            "interaction_id": primary.interaction_id,
            "items": [
                {
                    "feedback_id": one.row.feedback_id,
                    "instrument": one.row.instrument,
                    "feedback_type": one.row.feedback_type,
                    "revision": one.row.revision,
                    "status": one.status,
                }
                for one in landed
            ],
        }
        status = 201 if any(one.status == "created" for one in landed) else 200
        return Reply(status, body, location=beside(request, "feedback", primary.feedback_id))

    return once(request, found, principal, body=given, work=work)


@router.patch("/feedback/{feedback_id}", response_model=Record, responses=problems(404, 409, 412))
def change_feedback(
    feedback_id: str,
    given: FeedbackEdit,
    principal: Principal = allow(*RATERS),
    found: Installation = Depends(installation),
    if_match: IfMatch = None,
) -> JSONResponse:
    """Edit one's own judgement; the version before is kept."""
    expected = expected_revision(if_match)

    def edit(session: Session) -> Row:
        return edit_feedback(
            session,
            found.cipher,
            feedback_id=feedback_id,
            given=given,
            rater=as_rater(principal),
            expected_revision=expected,
        )

    return judging.change(found, principal, kind=FEEDBACK, edit=edit)


router.include_router(judging.routes(FEEDBACK, "feedback_id"))
