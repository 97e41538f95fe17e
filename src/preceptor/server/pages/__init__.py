"""The pages that people see: sign in, rate, compare, my ratings, dashboard, rounds; forms first, script second."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles

from preceptor.errors import PreceptorError
from preceptor.plots import STYLESHEETS
from preceptor.server.auth import public
from preceptor.server.errors import Problem
from preceptor.server.pages import dashboard, judging, mine, rounds, session
from preceptor.server.pages.render import respond as respond

STATIC = Path(__file__).parents[1] / "static"


def _offer(app: FastAPI, stylesheet: Path) -> None:
    @app.get(f"/static/{stylesheet.name}", include_in_schema=False, dependencies=[public()])
    def css() -> Response:
        return FileResponse(stylesheet, media_type="text/css")


def mount(app: FastAPI) -> None:
    """Add the pages and their files; failures of pages are shown as pages, those of the API as problem documents."""

    for stylesheet in STYLESHEETS:
        _offer(app, stylesheet)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    for module in (session, judging, mine, dashboard, rounds):
        app.include_router(module.router, include_in_schema=False)
    for kind in (Exception, PreceptorError, Problem, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, respond)
