"""Rounds, their runs and what was made from what; live while one runs, cancelable by those who may."""

from __future__ import annotations

from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from preceptor.artifacts.lineage import ancestors
from preceptor.db import audit
from preceptor.db.engine import session_scope
from preceptor.db.tables.rollout import Release
from preceptor.evaluate.page import render_report
from preceptor.jobs.control import RoundView, RunView, cancel_round, list_rounds, retry_round, round_detail
from preceptor.jobs.triggers import retrain_status
from preceptor.pipeline import CLOSING_STAGE, ROUND_STAGES
from preceptor.plots import svg
from preceptor.plots.report import content_security_policy
from preceptor.server.auth import Principal
from preceptor.server.deps import Installation, installation
from preceptor.server.errors import Problem
from preceptor.server.pages.evaluation import read_evaluation
from preceptor.server.pages.render import duration, page, see_other, visitors, when
from preceptor.terminal import describe_time

router = APIRouter()
Found = Annotated[Installation, Depends(installation)]
Here = Annotated[Principal, visitors("/runs")]
_SHOWN = 20
_MAY_CANCEL = frozenset({"ml_engineer", "admin"})
_TRIGGERS = {"manual": "started by hand", "threshold": "started by new judgements", "demo": "started by the demo"}


@router.get("/runs")
def rounds(request: Request, found: Found, here: Here) -> Response:
    listed = [_round(round_detail(found.engine, one.round_id)) for one in list_rounds(found.engine, limit=_SHOWN)]
    with session_scope(found.engine) as session:
        released = session.scalars(sa.select(Release).order_by(Release.id.desc()).limit(_SHOWN))
        releases = [
            {
                "agent_name": row.agent_name.replace("_", " "),
                "version": row.version,
                "state": row.state,
                "model": row.model,
                "when": when(row.created_at),
                "reason": row.reason,
            }
            for row in released
        ]
    live = any(one["state"] in ("queued", "running") for one in listed)
    return page(
        "runs.html", request, here, rounds=listed, releases=releases, live=live, retrain_note=_retrain_note(found)
    )


@router.get("/runs/{round_id}")
def one_round(request: Request, found: Found, here: Here, round_id: str) -> Response:
    view = round_detail(found.engine, round_id)
    shown = _round(view)
    with session_scope(found.engine) as session:
        for run, row in zip(view.runs, shown["runs"], strict=True):
            row["parents"] = ancestors(session, run.artifact_id) if run.artifact_id else []
    evaluation = read_evaluation(view, found.settings)
    may = here.role in _MAY_CANCEL
    return page(
        "round.html",
        request,
        here,
        round=shown,
        gates=evaluation.gates if evaluation else [],
        has_report=evaluation is not None,
        can_cancel=may and not view.has_ended and not view.cancel_requested,
        can_retry=may and view.state in ("failed", "canceled"),
    )


@router.get("/runs/{round_id}/report")
def report(found: Found, _here: Here, round_id: str) -> Response:
    """The evaluation report, with the gates as this round's release applied them."""
    evaluation = read_evaluation(round_detail(found.engine, round_id), found.settings)
    if evaluation is None:
        raise Problem("not-found")
    html = render_report(
        evaluation.report, evaluation.rows, thresholds=evaluation.thresholds, back=(f"/runs/{round_id}", round_id)
    )
    return HTMLResponse(html, headers={"Content-Security-Policy": content_security_policy()})


@router.post("/runs/{round_id}/cancel")
def cancel(found: Found, here: Here, round_id: str) -> Response:
    if here.role not in _MAY_CANCEL:
        raise Problem("not-allowed", f"The role '{here.role}' may not cancel a round.")
    cancel_round(found.engine, round_id)
    with session_scope(found.engine) as session:
        audit.record(session, actor_id=here.user_id, action="round.cancel", target=round_id)
    return see_other(f"/runs/{round_id}")


@router.post("/runs/{round_id}/retry")
def retry(found: Found, here: Here, round_id: str) -> Response:
    if here.role not in _MAY_CANCEL:
        raise Problem("not-allowed", f"The role '{here.role}' may not start a round again.")
    retry_round(found.engine, round_id)
    with session_scope(found.engine) as session:
        audit.record(session, actor_id=here.user_id, action="round.retry", target=round_id)
    return see_other(f"/runs/{round_id}")


def _retrain_note(found: Installation) -> str:
    status = retrain_status(found.engine, found.settings)
    if not status:
        needed = svg.number(found.settings.retrain_threshold)
        return f"It starts by itself at {needed} eligible new judgements of an agent."
    parts = [f"{(one.agent_name or 'unnamed agent').replace('_', ' ')} {one.new} of {one.threshold}" for one in status]
    return f"Eligible new judgements until the next round: {', '.join(parts)}."


def _round(view: RoundView) -> dict[str, Any]:
    runs = [_run(run) for run in view.runs]
    reached = {run["stage"] for run in runs}
    ahead = [stage for stage in (*ROUND_STAGES, CLOSING_STAGE) if stage not in reached]
    return {
        "round_id": view.round_id,
        "agent": (view.agent_name or "all agents").replace("_", " "),
        "state": view.state,
        "error": view.error,
        "trigger": _TRIGGERS.get(view.trigger_key.split(":")[0], view.trigger_key.split(":")[0]),
        "when": when(view.created_at),
        "took": duration(view.started_at, view.ended_at) if view.started_at else "",
        "runs": runs,
        "ahead": ahead,
        "has_ended": view.has_ended,
    }


def _run(run: RunView) -> dict[str, Any]:
    return {
        "stage": run.stage,
        "state": run.state,
        "summary": run.summary,
        "error": run.error if run.error != run.summary else None,
        "artifact_id": run.artifact_id,
        "parents": [],
        "done": run.done,
        "total": run.total,
        "eta": describe_time(run.eta_s).removesuffix(" left"),
        "took": duration(run.started_at, run.ended_at),
        "plot": _plot(run),
        "metrics": [(name, _value(value)) for name, value in sorted({**run.config, **run.metrics}.items())],
    }


def _plot(run: RunView) -> str | None:
    names = {"evaluate": ("win_rate", "Win rate against the baseline"), "reward": ("accuracy", "Held-out accuracy")}
    if run.stage not in names:
        return None
    key, label = names[run.stage]
    point, low, high = (run.metrics.get(f"{key}{suffix}") for suffix in ("", "_low", "_high"))
    if point is None or low is None or high is None:
        return None
    rows = [svg.Interval(label, float(point), float(low), float(high))]
    return svg.intervals(label, rows, reference=0.5, percent=True)


def _value(value: Any) -> str:
    if isinstance(value, float):
        return svg.number(value)
    return "–" if value is None else str(value)
