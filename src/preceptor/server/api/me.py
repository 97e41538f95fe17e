"""A signed-in account in, what it is and its API tokens out."""

from __future__ import annotations

from fastapi import APIRouter

from preceptor.server.api.route import ProblemRoute
from preceptor.server.auth import Principal, everyone

router = APIRouter(route_class=ProblemRoute, tags=["account"])


@router.get("/me")
def read_me(principal: Principal = everyone()) -> dict[str, str | int | None]:
    """The account behind the token or the session."""
    return {
        "user_id": principal.user_id,
        "login": principal.login,
        "role": principal.role,
        "display_name": principal.display_name,
        "specialty": principal.specialty,
    }
