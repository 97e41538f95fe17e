"""A signed-in account in, what it is, its consent, its contributions and its API tokens out."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from pydantic import Field
from sqlalchemy.orm import Session
from starlette.responses import JSONResponse, Response

from preceptor.collect import consent
from preceptor.collect.contributions import contributions
from preceptor.collect.records import utc
from preceptor.collect.schemas import Body, ConsentIn, Name
from preceptor.db import audit
from preceptor.db.engine import session_scope
from preceptor.server import accounts
from preceptor.server.api.access import RATERS
from preceptor.server.api.idempotency import IdempotencyHeader, Reply, once
from preceptor.server.api.route import ProblemRoute
from preceptor.server.api.shapes import ConsentState, Me, Record, TokenList, TokenReceipt, problems
from preceptor.server.auth import Principal, allow, everyone
from preceptor.server.deps import Installation, installation

router = APIRouter(route_class=ProblemRoute, tags=["account"])


class TokenIn(Body):
    name: Name
    days: Annotated[int, Field(strict=True, ge=1, le=3650)] | None = 90


@router.get("/me", response_model=Me, responses=problems())
def read_me(principal: Principal = everyone()) -> Me:
    """The account behind the token or the session."""
    return Me(
        user_id=principal.user_id,
        login=principal.login,
        role=principal.role,
        display_name=principal.display_name,
        specialty=principal.specialty,
    )


@router.get("/me/contributions", response_model=Record, responses=problems())
def read_contributions(
    principal: Principal = allow(*RATERS), found: Installation = Depends(installation)
) -> JSONResponse:
    """What has become of one's own judgements: by kind, and how many are in which dataset."""
    with session_scope(found.engine) as session:
        return JSONResponse(contributions(session, principal.user_id))


def _state(event: Any) -> dict[str, Any]:
    if event is None:
        return {"scope": None, "policy_version": None, "granted": False, "at": None}
    scope = event.scope if event.granted else None
    return {"scope": scope, "policy_version": event.policy_version, "granted": event.granted, "at": utc(event.at)}


@router.get("/consents", response_model=ConsentState, responses=problems())
def read_consent(principal: Principal = allow(*RATERS), found: Installation = Depends(installation)) -> JSONResponse:
    """The consent in force; no event means no."""
    with session_scope(found.engine) as session:
        return JSONResponse(_state(consent.latest_consent(session, principal.user_id)))


@router.post("/consents", status_code=201, response_model=ConsentState, responses=problems(409))
def give_consent(
    request: Request,
    given: ConsentIn,
    principal: Principal = allow(*RATERS),
    found: Installation = Depends(installation),
    _key: IdempotencyHeader = None,
) -> Response:
    """Agree that one's judgements measure quality, or train the agent as well."""

    def work(session: Session) -> Reply:
        event = consent.grant_consent(
            session, principal.user_id, scope=given.scope, policy_version=given.policy_version
        )
        audit.record(session, actor_id=principal.user_id, action="consent.give", target=f"consent:{event.id}")
        return Reply(201, _state(event))

    return once(request, found, principal, body=given, work=work)


@router.post("/consents/withdraw", status_code=201, response_model=ConsentState, responses=problems(409))
def take_consent_back(
    request: Request,
    principal: Principal = allow(*RATERS),
    found: Installation = Depends(installation),
    _key: IdempotencyHeader = None,
) -> Response:
    """Take consent back: none of one's judgements enters a new dataset."""

    def work(session: Session) -> Reply:
        event = consent.withdraw_consent(session, principal.user_id)
        audit.record(session, actor_id=principal.user_id, action="consent.withdraw", target=f"consent:{event.id}")
        return Reply(201, _state(event))

    return once(request, found, principal, body=None, work=work)


@router.get("/tokens", response_model=TokenList, responses=problems())
def list_tokens(principal: Principal = everyone(), found: Installation = Depends(installation)) -> JSONResponse:
    """One's own tokens that are not revoked; secrets cannot be read again."""
    with session_scope(found.engine) as session:
        rows = accounts.live_tokens(session, principal.user_id)
        items = [{"token_id": row.id, "name": row.name, "expires_at": utc(row.expires_at)} for row in rows]
    return JSONResponse({"items": items})


@router.post("/tokens", status_code=201, response_model=TokenReceipt, responses=problems(409))
def make_token(
    request: Request,
    given: TokenIn,
    principal: Principal = everyone(),
    found: Installation = Depends(installation),
    _key: IdempotencyHeader = None,
) -> Response:
    """Make a bearer token for oneself; the secret is in this answer only, and null when the answer is replayed."""

    def work(session: Session) -> Reply:
        row, secret = accounts.issue_token(session, principal.user_id, name=given.name, days=given.days)
        body = {"token_id": row.id, "name": row.name, "token": None, "expires_at": utc(row.expires_at)}
        return Reply(201, body, secret={"token": secret})

    return once(request, found, principal, body=given, work=work)


@router.delete("/tokens/{token_id}", status_code=204, responses=problems(404))
def revoke_token(
    token_id: int, principal: Principal = everyone(), found: Installation = Depends(installation)
) -> Response:
    """Revoke one of one's own tokens; it stops working at once."""
    with session_scope(found.engine) as session:
        accounts.revoke_token(session, principal.user_id, token_id=token_id)
    return Response(status_code=204)
