"""The JSON API as one router, mountable in any FastAPI application."""

from __future__ import annotations

from fastapi import APIRouter

from preceptor.server.api import exchange, feedback, interactions, me, preferences, queue, trail
from preceptor.server.api.route import ProblemRoute

router = APIRouter(route_class=ProblemRoute)
for part in (feedback, preferences, interactions, queue, exchange, me, trail):
    router.include_router(part.router)
