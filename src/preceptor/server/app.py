"""Settings and an engine in, the whole web application out: API, gateway, pages, metrics, one rule for every route."""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from types import ModuleType

import sqlalchemy as sa
from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.exceptions import HTTPException

from preceptor import __version__
from preceptor.server import pages
from preceptor.server.api import router
from preceptor.server.auth import AccessRule, allow
from preceptor.server.deps import install
from preceptor.server.errors import Problem, respond
from preceptor.server.headers import Envelope
from preceptor.server.health import router as health
from preceptor.settings import Settings

API_PREFIX = "/api/v1/rlhf"


def create_app(settings: Settings, engine: sa.Engine) -> FastAPI:
    """Build the application. It starts without torch; models are loaded by the gateway when first asked.

    Raises:
        RuntimeError: a route has no access rule (`allow`, `everyone` or `public` of `server.auth`).
    """
    app = FastAPI(
        title="preceptor",
        version=__version__,
        description="Clinicians' judgements of AI answers, collected to train safer, better agents.",
        docs_url=None,
        redoc_url=None,
        openapi_url="/openapi.json",
    )
    app.state.preceptor = install(settings, engine)
    for kind in (Exception, Problem, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, respond)
    app.include_router(health)
    app.include_router(router, prefix=API_PREFIX)
    gateway = _optional("preceptor.gateway.router")
    if gateway is not None:
        # the gateway reads who is asking from request.state.principal
        app.include_router(
            gateway.router, dependencies=[allow("clinician", "curator", "ml_engineer", "service", "admin")]
        )
    pages.mount(app)
    _demand_rules(app)
    app.add_middleware(Envelope, respond=pages.respond)
    return app


def _optional(name: str) -> ModuleType | None:
    return importlib.import_module(name) if find_spec(name) is not None else None


def access_rules(app: FastAPI) -> list[tuple[str, str, AccessRule | None]]:
    """Every (method, path, rule) that the application answers to."""
    found: list[tuple[str, str, AccessRule | None]] = []
    for context in iter_route_contexts(app.routes):
        if not isinstance(context.original_route, APIRoute):
            continue
        calls: list[object] = [item.call for item in _flatten(context.dependant)]
        rule = next((call for call in calls if isinstance(call, AccessRule)), None)
        found += [(method, str(context.path), rule) for method in sorted(context.methods or ())]
    return found


def _flatten(dependant: Dependant) -> list[Dependant]:
    children = dependant.dependencies
    return [*children, *(grandchild for child in children for grandchild in _flatten(child))]


def _demand_rules(app: FastAPI) -> None:
    open_routes = [f"{method} {path}" for method, path, rule in access_rules(app) if rule is None]
    if open_routes:
        raise RuntimeError(f"routes without an access rule: {', '.join(open_routes)}")
