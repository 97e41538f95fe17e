"""Sign in, sign out, consent, and the door that sends each role to its first page."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Form, Query
from starlette.requests import Request
from starlette.responses import Response

from preceptor.collect.consent import consent_scope, grant_consent
from preceptor.db.engine import session_scope
from preceptor.server import auth
from preceptor.server.auth import COOKIE, Principal, everyone, public
from preceptor.server.deps import Installation, installation
from preceptor.server.errors import Problem
from preceptor.server.pages.render import page, places, see_other

router = APIRouter()
Found = Annotated[Installation, Depends(installation)]
Here = Annotated[Principal, everyone()]


def _safe(address: str) -> str:
    """A path on this server, so that a link cannot send the browser elsewhere after signing in."""
    return address if address.startswith("/") and not address.startswith(("//", "/\\")) else "/"


@router.get("/login", dependencies=[public()])
def show_login(request: Request, next_page: Annotated[str, Query(alias="next")] = "/") -> Response:
    return page("login.html", request, None, next=_safe(next_page), error=None, login="")


@router.post("/login", dependencies=[public()])
def login(
    request: Request,
    found: Found,
    login: Annotated[str, Form()],
    password: Annotated[str, Form()],
    next_page: Annotated[str, Form(alias="next")] = "/",
) -> Response:
    error = "Login or password is not right. Try again, or ask whoever runs this server for a new password."
    try:
        signed = auth.sign_in(found, login, password=password)
    except Problem:
        signed, error = None, "Too many attempts. Wait a minute and try again."
    if signed is None:
        return page("login.html", request, None, status=401, next=_safe(next_page), error=error, login=login)
    response = see_other(_safe(next_page))
    auth.set_session_cookie(response, signed[1], settings=found.settings)
    return response


@router.post("/logout")
def logout(request: Request, found: Found, _here: Here) -> Response:
    auth.sign_out(found, request.cookies.get(COOKIE, ""))
    response = see_other("/login")
    auth.clear_session_cookie(response)
    return response


@router.get("/")
def home(found: Found, here: Annotated[Principal | None, Depends(auth.current_principal_or_none)],
         _open: Annotated[None, public()]) -> Response:  # fmt: skip
    if here is None:
        return see_other("/login")
    if here.role == "clinician":
        with session_scope(found.engine) as session:
            if consent_scope(session, here.user_id) is None:
                return see_other("/consent")
    first = "/dashboard" if here.role in {"admin", "ml_engineer", "auditor", "phi_reviewer"} else "/rate"
    return see_other(first if places(here.role) else "/consent")


@router.get("/consent")
def show_consent(request: Request, found: Found, here: Here) -> Response:
    with session_scope(found.engine) as session:
        scope = consent_scope(session, here.user_id)
    return page("consent.html", request, here, scope=scope)


@router.post("/consent")
def consent(
    found: Found, here: Here, scope: Annotated[Literal["quality_only", "internal_training"], Form()]
) -> Response:
    with session_scope(found.engine) as session:
        grant_consent(session, here.user_id, scope=scope)
    return see_other("/")
