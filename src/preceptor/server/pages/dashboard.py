"""The five numbers of the loop in, the dashboard out: each with its count and interval, each plot with its table."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from preceptor.db.engine import session_scope
from preceptor.db.tables.ops import Alert
from preceptor.monitor.measures import LoopMetrics
from preceptor.monitor.metrics import loop_metrics
from preceptor.plots import svg
from preceptor.server.auth import Principal
from preceptor.server.deps import Installation, installation
from preceptor.server.pages.render import page, visitors
from preceptor.stats.intervals import Interval

router = APIRouter()
_DAYS = 30
_GRAVEST = ("critical", "warning", "info")
_DRAWS = 500  # bootstrap draws: enough for a page that is looked at


@dataclass(frozen=True)
class Plot:
    """One card of the dashboard."""

    title: str
    svg: str
    note: str
    heads: tuple[str, ...] = ()
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    wide: bool = False


@router.get("/dashboard")
def dashboard(
    request: Request,
    found: Annotated[Installation, Depends(installation)],
    here: Annotated[Principal, visitors("/dashboard")],
) -> Response:
    with session_scope(found.engine) as session:
        metrics = loop_metrics(session, days=_DAYS, draws=_DRAWS)
        open_alerts = sa.select(Alert).where(Alert.resolved_at.is_(None)).order_by(Alert.id.desc())
        alerts = sorted(session.scalars(open_alerts), key=lambda alert: _GRAVEST.index(alert.severity))
    return page(
        "dashboard.html",
        request,
        here,
        figures=_figures(metrics),
        plots=_plots(metrics),
        alerts=alerts,
        scope_note=_scope(metrics),
    )


def _scope(metrics: LoopMetrics) -> str:
    agents = ", ".join(name.replace("_", " ") for name in metrics.agents) or "no agent yet"
    simulated = metrics.volume.simulated
    total = metrics.volume.feedback + metrics.volume.preferences
    if not simulated:
        return agents
    counted = "all" if simulated == total else f"{svg.number(simulated)} of {svg.number(total)}"
    return f"{agents} · {counted} judgements are simulated"


def _figures(metrics: LoopMetrics) -> list[tuple[str, str, str]]:
    volume, agreement, ratings = metrics.volume, metrics.agreement, metrics.ratings
    today = volume.days[-1]
    either = agreement.comparisons if agreement.comparisons.items else agreement.stars
    clinicians = f"{volume.clinicians} clinician{'' if volume.clinicians == 1 else 's'}"
    total = volume.feedback + volume.preferences
    figures = [
        (
            "Judgements",
            svg.number(total),
            f"{svg.number(today.feedback + today.preferences)} today, {clinicians}" if total else "none given yet",
        ),
        (
            "Mean rating",
            f"{ratings.mean.estimate:.2f} of 5" if ratings.n else "–",
            f"{_bounds(ratings.mean)}; {svg.number(ratings.n)} ratings" if ratings.n else "no answer was rated yet",
        ),
        (
            "Same judgement",
            svg.share(either.percent.estimate, percent=True),
            f"{_bounds(either.percent, percent=True)}; {svg.number(either.items)} "
            f"{'comparisons' if either is agreement.comparisons else 'answers'} judged twice"
            if either.items
            else "nothing was judged twice yet",
        ),
    ]
    reward, policy = metrics.reward, metrics.policy
    if reward is not None:
        note = f"{_bounds(reward.accuracy, percent=True)}; {svg.number(reward.accuracy.n)} held-out pairs"
        figures.append(("Reward model accuracy", svg.share(reward.accuracy.estimate, percent=True), note))
    else:
        figures.append(("Reward model accuracy", "–", "no reward model was measured yet"))
    if policy is not None:
        note = f"{_bounds(policy.win_rate, percent=True)}; {svg.number(policy.win_rate.n)} held-out prompts"
        figures.append(("Policy win rate", svg.share(policy.win_rate.estimate, percent=True), note))
    else:
        figures.append(("Policy win rate", "–", "no policy was evaluated yet"))
    return figures


def _plots(metrics: LoopMetrics) -> list[Plot]:
    days, stars = metrics.volume.days, metrics.ratings.stars
    totals = [day.feedback + day.preferences for day in days]
    agreement, proof = _agreement_rows(metrics), _proof_rows(metrics)
    return [
        Plot(
            title="Judgements per day",
            svg=svg.bars("Judgements per day", [f"{day.day:%-d %b}" for day in days], totals),
            note=f"Last {_DAYS} days, UTC. Ratings and comparisons together.",
            heads=("Day", "Ratings", "Comparisons"),
            rows=[(day.day.isoformat(), day.feedback, day.preferences) for day in days] if any(totals) else [],
            wide=True,
        ),
        Plot(
            title="Rating distribution",
            svg=svg.bars("Ratings by stars", [str(star) for star in stars], list(stars.values()), x_label="stars"),
            note="Thumbs are another instrument and counted apart: "
            f"{svg.number(metrics.ratings.thumbs_up)} up, {svg.number(metrics.ratings.thumbs_down)} down.",
            heads=("Stars", "Ratings"),
            rows=list(stars.items()) if metrics.ratings.n else [],
        ),
        Plot(
            title="Agreement between clinicians",
            svg=svg.intervals("Agreement between clinicians", agreement),
            note="What at least two clinicians judged, with 95 % intervals. Alpha and AC are corrected for chance: 0 "
            "is chance, 1 is full agreement. Read the three together; one alone misleads.",
        ),
        Plot(
            title="Held-out proof",
            svg=svg.intervals("Held-out proof", proof, reference=0.5, percent=True),
            note=f"Dashed: chance. Accuracy on held-out pairs; win rate on held-out prompts, ties half.{_kl(metrics)}",
            wide=True,
        ),
    ]


def _kl(metrics: LoopMetrics) -> str:
    if metrics.policy is None or metrics.policy.kl is None:
        return ""
    return f" The policy is {metrics.policy.kl:.3g} nats an answer away from its baseline (KL)."


def _agreement_rows(metrics: LoopMetrics) -> list[svg.Interval]:
    rows = []
    for which in (metrics.agreement.comparisons, metrics.agreement.stars):
        if which.items:
            name = "Comparisons" if which.instrument == "comparison" else "Stars"
            measures = (("same judgement", which.percent), ("Krippendorff alpha", which.alpha), ("Gwet AC", which.ac))
            rows += [_row(f"{name}, {label}", value) for label, value in measures if math.isfinite(value.estimate)]
    return rows


def _proof_rows(metrics: LoopMetrics) -> list[svg.Interval]:
    rows = []
    if metrics.reward is not None:
        rows.append(_row("Reward model accuracy", metrics.reward.accuracy))
        if metrics.reward.length_only is not None:
            rows.append(svg.Interval("Answer length alone", metrics.reward.length_only, second=True))
    if metrics.policy is not None:
        rows.append(_row("Policy win rate", metrics.policy.win_rate))
    return rows


def _row(label: str, value: Interval) -> svg.Interval:
    return svg.Interval(label, value.estimate, value.low, value.high)


def _bounds(value: Interval, *, percent: bool = False) -> str:
    if not (math.isfinite(value.low) and math.isfinite(value.high)):
        return "no interval yet"
    if percent:
        return f"{100 * value.low:.0f} to {svg.share(value.high, percent=True)}"
    return f"{value.low:.2f} to {value.high:.2f}"
