"""What an agent said, registered so that judgements can name it: one at a time or in batches, and read back."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, Request
from sqlalchemy.orm import Session
from starlette.responses import JSONResponse, Response

from preceptor.collect.interactions import create_interaction, get_interaction
from preceptor.collect.records import interaction_detail
from preceptor.collect.schemas import InteractionBatch, InteractionIn
from preceptor.db import audit
from preceptor.db.engine import session_scope
from preceptor.errors import NotFoundError
from preceptor.server.api.access import REGISTRARS, TEXT_READERS, beside, is_blinded, rater
from preceptor.server.api.idempotency import IdempotencyHeader, Reply, once
from preceptor.server.api.route import ProblemRoute
from preceptor.server.api.shapes import InteractionReceipt, InteractionReceipts, Record, problems
from preceptor.server.auth import Principal, allow
from preceptor.server.deps import Installation, installation

router = APIRouter(route_class=ProblemRoute, tags=["interactions"])


def _register(session: Session, found: Installation, given: InteractionIn, user_id: int) -> dict[str, Any]:
    row, is_new = create_interaction(session, found.cipher, given=given, created_by=user_id)
    status = "created" if is_new else "unchanged"
    return {"interaction_id": row.interaction_id, "external_id": row.external_id, "status": status}


@router.post(
    "/interactions",
    status_code=201,
    response_model=InteractionReceipt,
    responses={200: {"model": InteractionReceipt}, **problems(409)},
)
def register_interaction(
    request: Request,
    given: InteractionIn,
    principal: Principal = allow(*REGISTRARS),
    found: Installation = Depends(installation),
    _key: IdempotencyHeader = None,
) -> Response:
    """Store one answer of an agent; the same `external_id` is stored once (200)."""

    def work(session: Session) -> Reply:
        receipt = _register(session, found, given, principal.user_id)
        location = beside(request, "interactions", receipt["interaction_id"])
        return Reply(201 if receipt["status"] == "created" else 200, receipt, location=location)

    return once(request, found, principal, body=given, work=work)


@router.post("/interactions/batch", status_code=201, response_model=InteractionReceipts, responses=problems(409))
def register_interactions(
    request: Request,
    given: InteractionBatch,
    principal: Principal = allow(*REGISTRARS),
    found: Installation = Depends(installation),
    _key: IdempotencyHeader = None,
) -> Response:
    """Store up to 500 answers, all or none, answered in the order given."""

    def work(session: Session) -> Reply:
        receipts = [_register(session, found, one, principal.user_id) for one in given.interactions]
        return Reply(201, {"items": receipts})

    return once(request, found, principal, body=given, work=work)


@router.get("/interactions/{interaction_id}", response_model=Record, responses=problems(404))
def read_interaction(
    interaction_id: str,
    principal: Principal = allow("clinician", "service", *TEXT_READERS),
    found: Installation = Depends(installation),
) -> JSONResponse:
    """One answer with its prompt: clinicians and services read those that they made."""
    with session_scope(found.engine) as session:
        row = get_interaction(session, interaction_id, rater=rater(principal))
        if not principal.has(*TEXT_READERS) and row.created_by != principal.user_id:
            raise NotFoundError("There is no interaction with this id for this account. Check interaction_id.")
        audit.record(session, actor_id=principal.user_id, action="text.read", target=interaction_id)
        return JSONResponse(interaction_detail(row, cipher=found.cipher, blinded=is_blinded(principal)))
