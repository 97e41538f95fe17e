"""The rating queue: items in, assignments out, judgements back; the server alone knows which side was which."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Depends, Request
from sqlalchemy.orm import Session
from starlette.responses import JSONResponse, Response

from preceptor.collect import queue, submission
from preceptor.collect.records import utc
from preceptor.collect.schemas import FieldError, NextIn, QueueItemsIn, SubmitIn
from preceptor.db import audit
from preceptor.db.engine import session_scope
from preceptor.server.api.access import REGISTRARS, rater
from preceptor.server.api.idempotency import IdempotencyHeader, Reply, once
from preceptor.server.api.route import ProblemRoute
from preceptor.server.api.shapes import AssignmentCard, AssignmentState, QueueItemReceipts, QueueProgress, problems
from preceptor.server.auth import Principal, allow
from preceptor.server.deps import Installation, installation
from preceptor.server.limits import demand_unhurried

router = APIRouter(route_class=ProblemRoute, tags=["queue"])
JUDGES = ("clinician", "curator", "admin")


@router.post("/queue/items", status_code=201, response_model=QueueItemReceipts, responses=problems(404, 409))
def add_items(
    request: Request,
    given: QueueItemsIn,
    principal: Principal = allow(*REGISTRARS),
    found: Installation = Depends(installation),
    _key: IdempotencyHeader = None,
) -> Response:
    """Queue up to 500 answers to rate or pairs to compare, all or none; the same content is queued once."""

    def work(session: Session) -> Reply:
        receipts = []
        for index, item in enumerate(given.items):
            try:
                row, is_new = queue.add_item(session, found.cipher, given=item)
            except FieldError as error:
                raise FieldError(error.message, *(f"items/{index}/{name}" for name in error.fields)) from None
            status = "created" if is_new else "unchanged"
            receipts.append({"item_id": row.item_id, "kind": row.kind, "status": status})
        return Reply(201, {"items": receipts})

    return once(request, found, principal, body=given, work=work)


@router.post(
    "/queue/next",
    response_model=AssignmentCard,
    responses={204: {"description": "Nothing is open to this clinician."}, **problems(409)},
)
def next_item(
    given: NextIn,
    principal: Principal = allow(*JUDGES),
    found: Installation = Depends(installation),
    _key: IdempotencyHeader = None,
) -> Response:
    """Lease the next item; the same one comes back until it is judged or skipped, so repeating is harmless."""
    with session_scope(found.engine) as session:
        leased = queue.next_assignment(session, rater=rater(principal), key=found.secret, kind=given.kind)
        if leased is None:
            return Response(status_code=204)
        card = asdict(queue.show(session, found.cipher, assignment=leased))
        audit.record(session, actor_id=principal.user_id, action="text.read", target=leased.assignment_id)
    card["lease_until"] = utc(card["lease_until"])
    return JSONResponse({name: value for name, value in card.items() if value is not None})


@router.get("/queue/progress", response_model=QueueProgress, responses=problems())
def read_progress(principal: Principal = allow(*JUDGES), found: Installation = Depends(installation)) -> JSONResponse:
    """How many this clinician has judged and skipped, and how many are open to them."""
    with session_scope(found.engine) as session:
        return JSONResponse(asdict(queue.progress(session, rater=rater(principal))))


def _state(assignment: Any) -> dict[str, Any]:
    done = assignment.completed_at
    return {
        "assignment_id": assignment.assignment_id,
        "state": assignment.state,
        "result_ids": assignment.result_ids or [],
        "undo_until": utc(done + submission.UNDO) if done is not None else None,
    }


@router.post(
    "/queue/assignments/{assignment_id}/submit", response_model=AssignmentState, responses=problems(404, 409, 429)
)
def submit_assignment(
    request: Request,
    assignment_id: str,
    given: SubmitIn,
    principal: Principal = allow(*JUDGES),
    found: Installation = Depends(installation),
    _key: IdempotencyHeader = None,
) -> Response:
    """Judge an assignment. A comparison's `choice` is left, right, tie, both_bad or cannot_judge."""

    def work(session: Session) -> Reply:
        demand_unhurried(session, found, principal)
        done = submission.submit(
            session, found.cipher, assignment_id=assignment_id, given=given, rater=rater(principal), source="api"
        )
        return Reply(200, _state(done))

    return once(request, found, principal, body=given, work=work)


@router.post("/queue/assignments/{assignment_id}/skip", response_model=AssignmentState, responses=problems(404, 409))
def skip_assignment(
    request: Request,
    assignment_id: str,
    principal: Principal = allow(*JUDGES),
    found: Installation = Depends(installation),
    _key: IdempotencyHeader = None,
) -> Response:
    """Leave an item to others."""

    def work(session: Session) -> Reply:
        return Reply(200, _state(submission.skip(session, assignment_id=assignment_id, rater=rater(principal))))

    return once(request, found, principal, body=None, work=work)


@router.post("/queue/assignments/{assignment_id}/undo", response_model=AssignmentState, responses=problems(404, 409))
def undo_assignment(
    request: Request,
    assignment_id: str,
    principal: Principal = allow(*JUDGES),
    found: Installation = Depends(installation),
    _key: IdempotencyHeader = None,
) -> Response:
    """Take a judgement back within ten seconds, or a skip; the assignment is open again."""

    def work(session: Session) -> Reply:
        undone = submission.undo(session, assignment_id=assignment_id, rater=rater(principal))
        audit.record(session, actor_id=principal.user_id, action="assignment.undo", target=assignment_id)
        return Reply(200, _state(undone))

    return once(request, found, principal, body=None, work=work)
