"""Probes in, the state of this process out: alive, ready, metrics for Prometheus, and what each problem type means."""

from __future__ import annotations

import importlib
from importlib.util import find_spec

import sqlalchemy as sa
from fastapi import APIRouter, Depends, Response

from preceptor.server.api.shapes import problems
from preceptor.server.auth import public
from preceptor.server.deps import Installation, installation
from preceptor.server.errors import PROBLEMS, Problem

router = APIRouter(tags=["operations"])


@router.get("/healthz", dependencies=[public()])
def alive() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/readyz", dependencies=[public()], responses=problems())
def ready(found: Installation = Depends(installation)) -> dict[str, str]:
    """The database answers too; 503 otherwise."""
    with found.engine.connect() as connection:
        connection.execute(sa.text("SELECT 1 FROM users LIMIT 1"))
    return {"status": "ok", "database": "ok"}


@router.get("/problems/{slug}", dependencies=[public()], responses=problems(404))
def problem_type(slug: str) -> dict[str, str | int]:
    """What a problem type means."""
    if slug not in PROBLEMS:
        raise Problem("not-found")
    status, title = PROBLEMS[slug]
    return {"type": f"/problems/{slug}", "status": status, "title": title}


@router.get("/metrics", dependencies=[public()], include_in_schema=False)
def metrics(found: Installation = Depends(installation)) -> Response:
    """Counts and gauges in the Prometheus text format; no text and no names of people."""
    if find_spec("preceptor.monitor.prometheus") is None:
        raise Problem("not-found")
    from prometheus_client import CONTENT_TYPE_LATEST

    prometheus = importlib.import_module("preceptor.monitor.prometheus")
    return Response(prometheus.render(found.engine), media_type=CONTENT_TYPE_LATEST)
