"""The database and a moment in, everything the monitor knows at that moment out; no text is read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from preceptor.artifacts.staleness import Stale, stale_artifacts
from preceptor.db.tables.curated import judgements
from preceptor.db.tables.lineage import Run
from preceptor.db.tables.ops import User
from preceptor.db.tables.rollout import Experiment
from preceptor.monitor.config import MonitorConfig
from preceptor.monitor.drift import MixDrift, RatingDrift, mix_drift, rating_drift
from preceptor.monitor.measures import LoopMetrics
from preceptor.monitor.metrics import left_choice_share, live_judgements, loop_metrics
from preceptor.stats.intervals import Interval


@dataclass(frozen=True)
class ExperimentState:
    """Where an experiment that somebody should know of stands."""

    experiment_id: str
    agent_name: str
    state: str
    reason: str


@dataclass(frozen=True)
class Snapshot:
    """One look at the whole loop."""

    taken_at: datetime
    metrics: LoopMetrics
    agent_mix: MixDrift
    specialty_mix: MixDrift
    ratings: RatingDrift
    left_choice: Interval
    last_judgement: datetime | None
    severe_flags: int
    stuck_runs: list[str]
    experiments: list[ExperimentState]
    stale: Stale


def take_snapshot(session: Session, config: MonitorConfig, *, now: datetime) -> Snapshot:
    """Measure everything; "recent" is the last `recent_days`, "reference" all before."""
    split = now - timedelta(days=config.recent_days)
    columns = judgements.c
    live = live_judgements(config.agent_name)
    last = session.scalar(sa.select(sa.func.max(columns.created_at)).where(*live))
    severe = session.scalar(
        sa.select(sa.func.count()).where(*live, columns.harm_severity == 3, columns.created_at >= split)
    )
    return Snapshot(
        taken_at=now,
        metrics=loop_metrics(session, agent_name=config.agent_name, days=config.days, now=now),
        agent_mix=_mix(session, columns.agent_name, live, split),
        specialty_mix=_mix(session, User.specialty, live, split),
        ratings=rating_drift(
            _clinician_days(session, [*live, columns.created_at < split]),
            _clinician_days(session, [*live, columns.created_at >= split]),
            margin=config.rating_margin,
        ),
        left_choice=left_choice_share(session, agent_name=config.agent_name),
        last_judgement=last,
        severe_flags=int(severe or 0),
        stuck_runs=_stuck_runs(session, now - timedelta(seconds=config.heartbeat_seconds)),
        experiments=_experiments(session, config.agent_name),
        stale=stale_artifacts(session),
    )


def _mix(
    session: Session, name: sa.SQLColumnExpression[str | None], live: list[sa.ColumnElement[bool]], split: datetime
) -> MixDrift:
    recent = sa.func.count().filter(judgements.c.created_at >= split)
    rows = session.execute(
        sa.select(name, sa.func.count() - recent, recent)
        .select_from(judgements.outerjoin(User, User.id == judgements.c.clinician_id))
        .where(*live, name.is_not(None))
        .group_by(name)
    ).all()
    return mix_drift({str(row[0]): row[1] for row in rows}, {str(row[0]): row[2] for row in rows})


def _clinician_days(session: Session, conditions: list[sa.ColumnElement[bool]]) -> list[float]:
    """Mean satisfaction (0-1) of each clinician on each day, oldest first: one number where many would not be
    independent.
    """
    columns = judgements.c
    day = sa.cast(sa.func.timezone("UTC", columns.created_at), sa.Date)
    statement = (
        sa.select((sa.func.avg(columns.rating) - 1) / 4)
        .where(*conditions, columns.instrument == "stars", columns.clinician_id.is_not(None))
        .group_by(day, columns.clinician_id)
        .order_by(day, columns.clinician_id)
    )
    return [float(value) for value in session.scalars(statement)]


def _stuck_runs(session: Session, heard_since: datetime) -> list[str]:
    statement = sa.select(Run.run_id).where(
        Run.state == "running", sa.func.coalesce(Run.heartbeat_at, Run.started_at, Run.created_at) < heard_since
    )
    return list(session.scalars(statement.order_by(Run.id)))


def _experiments(session: Session, agent_name: str | None) -> list[ExperimentState]:
    """The newest experiment of each agent, when it is paused or was rolled back."""
    newest = sa.select(sa.func.max(Experiment.id)).group_by(Experiment.agent_name)
    statement = sa.select(Experiment).where(Experiment.id.in_(newest), Experiment.state.in_(("paused", "rolled_back")))
    if agent_name is not None:
        statement = statement.where(Experiment.agent_name == agent_name)
    return [
        ExperimentState(found.experiment_id, found.agent_name, found.state, str(found.decision.get("reason", "")))
        for found in session.scalars(statement.order_by(Experiment.id))
    ]
