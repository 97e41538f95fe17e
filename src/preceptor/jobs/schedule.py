"""The clock of the worker loop in, due work out: threshold rounds, monitor and experiments on their own schedule.

One worker at a time does this, whichever gets the lock; what was done when is read from the runs table, so it does not
matter which one. Stages run in child processes, so the worker itself stays light.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from preceptor.db.engine import session_scope
from preceptor.db.tables.lineage import Run
from preceptor.db.tables.rollout import Experiment
from preceptor.jobs.app import RoundInterrupted
from preceptor.jobs.processes import Timing, run_to_end
from preceptor.jobs.triggers import check_threshold, retrain_status
from preceptor.pipeline import parse_config
from preceptor.release.switch import synchronize
from preceptor.runs import create_run
from preceptor.settings import Settings

logger = logging.getLogger(__name__)

_SCHEDULE_LOCK = 0x7363686564


def tick(settings: Settings, engine: sa.Engine, *, stop: threading.Event, timing: Timing, package: str) -> None:
    """Do what is due now, unless another worker is at it."""
    with engine.connect() as holder:
        if not holder.scalar(sa.select(sa.func.pg_try_advisory_lock(_SCHEDULE_LOCK))):
            return
        holder.commit()
        try:
            if _curation_could_cross(engine, settings):
                run_scheduled(settings, engine, "curate", {}, stop=stop, timing=timing, package=package)
            check_threshold(engine, settings, package=package)
            for stage, values in due_stages(engine, timing):
                run_scheduled(settings, engine, stage, values, stop=stop, timing=timing, package=package)
                if stage == "experiment":  # what it decided reaches the routers through the deployment document
                    synchronize(engine, settings)
        finally:
            holder.execute(sa.select(sa.func.pg_advisory_unlock(_SCHEDULE_LOCK)))
            holder.commit()


def run_scheduled(
    settings: Settings,
    engine: sa.Engine,
    stage: str,
    values: Mapping[str, Any],
    *,
    stop: threading.Event,
    timing: Timing,
    package: str,
) -> str:
    """Run one stage outside any round, in a child process, and return how it ended."""
    with session_scope(engine) as session:
        run_id = create_run(session, stage, parse_config(stage, values, package=package))
    try:
        return run_to_end(settings, engine, run_id, stop=stop, timing=timing, package=package)
    except RoundInterrupted:
        with session_scope(engine) as session:
            reason = {"state": "canceled", "error": "The worker stopped; the schedule starts it again."}
            session.execute(sa.update(Run).where(Run.run_id == run_id, Run.state == "queued").values(**reason))
        return "canceled"


def due_stages(engine: sa.Engine, timing: Timing) -> list[tuple[str, dict[str, Any]]]:
    """The stages whose last run is longer ago than their interval, with their config fields."""
    due: list[tuple[str, dict[str, Any]]] = []
    with session_scope(engine) as session:
        if _is_older(session.scalar(_last_run("monitor")), timing.monitor_every, session):
            due.append(("monitor", {}))
        running = sa.select(Experiment).where(Experiment.state == "running").order_by(Experiment.id)
        for experiment in session.scalars(running):
            last = _last_run("experiment").where(Run.config["experiment_id"].astext == experiment.experiment_id)
            if _is_older(session.scalar(last), timing.experiment_every, session):
                values = {
                    "agent_name": experiment.agent_name,
                    "action": "analyze",
                    "experiment_id": experiment.experiment_id,
                }
                due.append(("experiment", values))
    return due


def _last_run(stage: str) -> sa.Select[Any]:
    return sa.select(sa.func.max(Run.created_at)).where(Run.stage == stage)


def _is_older(moment: Any, seconds: float, session: sa.orm.Session) -> bool:
    if moment is None:
        return True
    age = sa.func.now() - sa.literal(moment)
    return bool(session.scalar(sa.select(age >= sa.func.make_interval(0, 0, 0, 0, 0, 0, seconds))))


def _curation_could_cross(engine: sa.Engine, settings: Settings) -> bool:
    """Whether curating what waits could bring an agent to the threshold: curation loads a language model."""
    return any(
        status.held is None and status.waiting > 0 and status.new < status.threshold <= status.new + status.waiting
        for status in retrain_status(engine, settings)
    )
