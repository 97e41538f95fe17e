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
        alerts = list(session.scalars(open_alerts))
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
    return f"{agents} · {simulated} of {total} judgements are simulated" if simulated else agents


def _figures(metrics: LoopMetrics) -> list[tuple[str, str, str]]:
    volume, agreement = metrics.volume, metrics.agreement
    today = volume.days[-1]
    either = agreement.comparisons if agreement.comparisons.items else agreement.stars
    figures = [
        ("Judgements", svg.number(volume.feedback + volume.preferences),
         f"{today.feedback + today.preferences} today, {volume.clinicians} clinicians"),
        ("Mean rating", _number(metrics.ratings.mean), f"{_bounds(metrics.ratings.mean)}, n {metrics.ratings.mean.n}"),
        ("Agreement", _percent(either.percent), f"alpha {_number(either.alpha)}, {either.items} items judged twice"),
    ]  # fmt: skip
    reward, policy = metrics.reward, metrics.policy
    if reward is not None:
        note = f"{_bounds(reward.accuracy, percent=True)}, n {reward.accuracy.n}"
        figures.append(("Reward model accuracy", _percent(reward.accuracy), note))
    else:
        figures.append(("Reward model accuracy", "–", "no reward model was trained yet"))
    if policy is not None:
        kl = "" if policy.kl is None else f", KL {policy.kl:.3g}"
        figures.append(
            (
                "Policy against baseline",
                _percent(policy.win_rate),
                f"win rate {_bounds(policy.win_rate, percent=True)}{kl}",
            )
        )
    else:
        figures.append(("Policy against baseline", "–", "no policy was evaluated yet"))
    return figures


def _plots(metrics: LoopMetrics) -> list[Plot]:
    days, stars = metrics.volume.days, metrics.ratings.stars
    totals = [day.feedback + day.preferences for day in days]
    return [
        Plot(
            title="Feedback volume per day",
            svg=svg.bars("Judgements per day", [f"{day.day:%d %b}" for day in days], totals, width=svg.WIDE),
            note=f"Last {_DAYS} days, UTC. Ratings and comparisons together.",
            heads=("Day", "Ratings", "Comparisons"),
            rows=[(day.day.isoformat(), day.feedback, day.preferences) for day in days],
            wide=True,
        ),
        Plot(
            title="Rating distribution",
            svg=svg.bars("Ratings", [str(star) for star in stars], list(stars.values())),
            note="Stars only. Thumbs are another instrument: "
            f"{metrics.ratings.thumbs_up} up, {metrics.ratings.thumbs_down} down.",
            heads=("Stars", "Ratings"),
            rows=list(stars.items()),
        ),
        Plot(
            title="Agreement between clinicians",
            svg=svg.intervals("Agreement", _agreement_rows(metrics)),
            note="Items judged by at least two clinicians. Read the three together: one coefficient alone misleads.",
        ),
        Plot(
            title="Held-out proof",
            svg=svg.intervals("Held-out proof", _proof_rows(metrics), reference=0.5, width=svg.WIDE),
            note="Dashed: chance. Accuracy on held-out pairs; win rate on held-out prompts, ties half.",
            wide=True,
        ),
    ]


def _agreement_rows(metrics: LoopMetrics) -> list[svg.Interval]:
    rows = []
    for which in (metrics.agreement.comparisons, metrics.agreement.stars):
        if which.items:
            name = "Comparisons" if which.instrument == "comparison" else "Stars"
            measures = (("same answer", which.percent), ("Krippendorff alpha", which.alpha), ("Gwet AC", which.ac))
            rows += [_row(f"{name}, {label}", value) for label, value in measures if math.isfinite(value.estimate)]
    return rows


def _proof_rows(metrics: LoopMetrics) -> list[svg.Interval]:
    rows = []
    if metrics.reward is not None:
        rows.append(_row("Reward model accuracy", metrics.reward.accuracy))
        if metrics.reward.length_only is not None:
            length = metrics.reward.length_only
            rows.append(svg.Interval("Longer answer wins", length, length, length, second=True))
    if metrics.policy is not None:
        rows.append(_row("Policy win rate", metrics.policy.win_rate))
    return rows


def _row(label: str, value: Interval) -> svg.Interval:
    low = value.low if math.isfinite(value.low) else value.estimate
    high = value.high if math.isfinite(value.high) else value.estimate
    return svg.Interval(label, value.estimate, low, high)


def _number(value: Interval) -> str:
    return f"{value.estimate:.2f}" if math.isfinite(value.estimate) else "–"


def _percent(value: Interval) -> str:
    return f"{value.estimate:.0%}" if math.isfinite(value.estimate) else "–"


def _bounds(value: Interval, *, percent: bool = False) -> str:
    if not (math.isfinite(value.low) and math.isfinite(value.high)):
        return "no interval yet"
    return f"{value.low:.0%} to {value.high:.0%}" if percent else f"{value.low:.2f} to {value.high:.2f}"
