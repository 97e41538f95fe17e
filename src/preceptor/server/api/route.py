"""The route class of the API: it answers every failure as a problem document, also inside a host application."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from preceptor.server.errors import render, to_problem
from preceptor.server.limits import bounded

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class ProblemRoute(APIRoute):
    """A host application has no handlers for our errors, so the route brings its own."""

    def get_route_handler(self) -> Handler:
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handle(Request(request.scope, bounded(request.scope, request.receive)))
            except Exception as error:
                return render(to_problem(error))

        return answer
