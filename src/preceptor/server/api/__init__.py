"""The JSON API as one router, mountable in any FastAPI application."""

from __future__ import annotations

from fastapi import APIRouter

from preceptor.server.api import me
from preceptor.server.api.route import MAX_BODY_BYTES, ProblemRoute

__all__ = ["MAX_BODY_BYTES", "router"]

router = APIRouter(route_class=ProblemRoute)
for part in (me,):
    router.include_router(part.router)
