"""A request in, the principal behind its bearer token or session cookie out; a route says which roles may call it."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import Any

from fastapi import Depends
from starlette.requests import Request
from starlette.responses import Response

from preceptor.db.engine import session_scope
from preceptor.db.tables.ops import User
from preceptor.server import accounts
from preceptor.server.deps import Installation, installation
from preceptor.server.errors import Problem
from preceptor.settings import Settings

COOKIE = "preceptor_session"
CSRF_HEADER = "x-csrf-token"
CSRF_FIELD = "csrf_token"
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_FORM_TYPES = ("application/x-www-form-urlencoded", "multipart/form-data")


@dataclass(frozen=True)
class Principal:
    """Who is asking. `csrf_token` is the form token of a browser session, None for a bearer token."""

    user_id: int
    login: str | None
    role: str
    display_name: str | None = None
    specialty: str | None = None
    csrf_token: str | None = None

    def has(self, *roles: str) -> bool:
        return self.role in roles


def _principal(user: User, csrf_token: str | None = None) -> Principal:
    return Principal(
        user_id=user.id,
        login=user.login,
        role=user.role,
        display_name=user.display_name,
        specialty=user.specialty,
        csrf_token=csrf_token,
    )


async def _presented_csrf(request: Request) -> str | None:
    """The form token that came with an unsafe request, from the header or from the form itself."""
    if request.method in _SAFE_METHODS or COOKIE not in request.cookies:
        return None
    header = request.headers.get(CSRF_HEADER)
    if header is not None:
        return header
    if request.headers.get("content-type", "").startswith(_FORM_TYPES):
        value = (await request.form()).get(CSRF_FIELD)
        return value if isinstance(value, str) else None
    return None


def current_principal_or_none(
    request: Request,
    found: Installation = Depends(installation),
    presented_csrf: str | None = Depends(_presented_csrf),
) -> Principal | None:
    """The principal, or None for a visitor. Also kept as `request.state.principal`.

    Raises:
        Problem: a token that is not valid (401), or an unsafe request of a browser without its form token (403).
    """
    principal: Principal | None = None
    authorization = request.headers.get("authorization")
    cookie = request.cookies.get(COOKIE)
    if authorization is not None:
        scheme, _, secret = authorization.partition(" ")
        if scheme.lower() != "bearer" or not secret.strip():
            raise Problem("sign-in-required", "The Authorization header must read: Bearer TOKEN.")
        with session_scope(found.engine) as session:
            user = accounts.user_of_token(session, secret.strip())
        if user is None:
            raise Problem("sign-in-required", "The token is unknown, expired or revoked.")
        principal = _principal(user)
    elif cookie is not None:
        with session_scope(found.engine) as session:
            row = accounts.find_session(session, cookie)
        if row is not None:
            user, csrf_token = row
            if request.method not in _SAFE_METHODS and not (
                presented_csrf is not None and hmac.compare_digest(presented_csrf.encode(), csrf_token.encode())
            ):
                raise Problem("csrf")
            principal = _principal(user, csrf_token)
    request.state.principal = principal
    return principal


async def current_principal(principal: Principal | None = Depends(current_principal_or_none)) -> Principal:
    """The principal, or a 401 problem (pages send the browser to the sign-in page instead)."""
    if principal is None:
        raise Problem("sign-in-required")
    return principal


class AccessRule:
    """Which roles may call a route; `roles=None` opens it to everyone. A route without a rule does not start."""

    def __init__(self, roles: frozenset[str] | None) -> None:
        self.roles = roles


class RoleRule(AccessRule):
    """A dependency that lets the named roles pass."""

    async def __call__(self, principal: Principal = Depends(current_principal)) -> Principal:
        if self.roles is not None and principal.role not in self.roles:
            raise Problem("not-allowed", f"The role '{principal.role}' may not do this.")
        return principal


class PublicRule(AccessRule):
    """A dependency that lets everyone pass and says so."""

    async def __call__(self) -> None:
        return None


def allow(*roles: str) -> Any:
    """Declare who may call a route, as a parameter default or in `dependencies=[...]`; gives the Principal."""
    unknown = set(roles) - set(accounts.ROLES)
    if unknown or not roles:
        raise ValueError(f"allow() needs known roles, got {sorted(roles)}")
    return Depends(RoleRule(frozenset(roles)))


def everyone() -> Any:
    """Declare that a signed-in account of any role may call a route."""
    return allow(*accounts.ROLES)


def public() -> Any:
    """Declare that a route needs no sign-in. Use it in `dependencies=[...]`."""
    return Depends(PublicRule(None))


def sign_in(found: Installation, login: str, *, password: str) -> tuple[Principal, str] | None:
    """Check a login and open a browser session. Returns the principal and the cookie's value, or None.

    Raises:
        Problem: too many attempts (429).
    """
    try:
        with session_scope(found.engine) as session:
            user = accounts.authenticate(session, login, password=password)
            if user is None:
                return None
            cookie, csrf_token = accounts.open_session(session, user)
            return _principal(user, csrf_token), cookie
    except accounts.TooBusyError:
        raise Problem("too-many", headers={"Retry-After": "60"}) from None


def sign_out(found: Installation, cookie: str) -> None:
    with session_scope(found.engine) as session:
        accounts.close_session(session, cookie)


def set_session_cookie(response: Response, value: str, *, settings: Settings) -> None:
    """Hand the session to the browser: unreadable for scripts, not sent from other sites."""
    response.set_cookie(
        COOKIE,
        value,
        max_age=int(accounts.SESSION_LENGTH.total_seconds()),
        httponly=True,
        samesite="lax",
        secure=settings.environment == "production",
        path="/",
    )


def clear_session_cookie(response: Response) -> None:
    response.delete_cookie(COOKIE, path="/", httponly=True, samesite="lax")
