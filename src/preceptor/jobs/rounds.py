"""A queued round in, its stages executed in order out; stages that succeeded before are not repeated."""

from __future__ import annotations

import logging
import threading
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from preceptor.db.engine import session_scope
from preceptor.db.tables.curated import CuratedRecord
from preceptor.db.tables.lineage import Round, Run
from preceptor.errors import PreceptorError
from preceptor.jobs.app import RoundInterrupted
from preceptor.jobs.processes import Timing, run_to_end
from preceptor.pipeline import CLOSING_STAGE, ROUND_STAGES, RoundConfig, active_model, parse_config, wire
from preceptor.runs import ENDED, create_run, describe_unexpected
from preceptor.settings import Settings

logger = logging.getLogger(__name__)


def drive_round(
    settings: Settings,
    engine: sa.Engine,
    round_id: str,
    *,
    stop: threading.Event,
    timing: Timing | None = None,
    package: str = "preceptor",
) -> str:
    """Bring a round to its end and return its state, or `superseded` when another worker drives it now.

    Raises:
        RoundInterrupted: `stop` was set; what succeeded is kept and the round goes on where it was.
    """
    timing = timing or Timing()
    config, state = _begin(engine, round_id)
    if state in ENDED:
        return state
    error: str | None = None
    try:
        for stage in (*ROUND_STAGES, CLOSING_STAGE):
            run_id = _ensure_run(engine, round_id, stage, config=config, settings=settings, package=package)
            ended = run_to_end(settings, engine, run_id, stop=stop, timing=timing, package=package)
            if ended == "superseded":
                logger.warning("round %s is driven by another worker", round_id)
                return ended
            if stage != CLOSING_STAGE:
                state = ended
            if ended not in ("succeeded", "refused"):
                break
            if ended == "refused" and stage != ROUND_STAGES[-1]:
                break
    except (RoundInterrupted, sa.exc.OperationalError):
        raise
    except PreceptorError as failure:
        state, error = "failed", failure.message
    except Exception as failure:
        logger.error("round %s failed unexpectedly: %s", round_id, describe_unexpected(failure))
        state, error = "failed", f"The round ended with an unexpected {type(failure).__name__}; see the worker's log."
    return _close(engine, round_id, state, error)


def _begin(engine: sa.Engine, round_id: str) -> tuple[RoundConfig, str]:
    with session_scope(engine) as session:
        found = session.scalars(sa.select(Round).where(Round.round_id == round_id).with_for_update()).one()
        if found.state not in ENDED and found.cancel_requested:
            found.state, found.ended_at = "canceled", sa.func.clock_timestamp()
            return RoundConfig.model_validate(found.config), "canceled"
        if found.state not in ENDED:
            found.state = "running"
            found.started_at = found.started_at or sa.func.clock_timestamp()
        return RoundConfig.model_validate(found.config), found.state


def _ensure_run(
    engine: sa.Engine, round_id: str, stage: str, *, config: RoundConfig, settings: Settings, package: str
) -> str:
    with session_scope(engine) as session:
        found = session.scalars(sa.select(Round).where(Round.round_id == round_id).with_for_update()).one()
        found.stage = stage
        runs = {run.stage: run for run in session.scalars(sa.select(Run).where(Run.round_id == round_id))}
        if stage in runs:
            return runs[stage].run_id
        artifacts = {name: run.artifact_id for name, run in runs.items() if run.artifact_id is not None}
        values = wire(
            stage,
            config,
            artifacts=artifacts,
            settings=settings,
            active_model=active_model(session, config.agent_name),
            package=package,
        )
        if stage == "prepare":
            found.high_water = newest_sample(session, config.agent_name) or found.high_water
        run_id = create_run(session, stage, parse_config(stage, values, package=package), round_id=round_id)
        if found.cancel_requested:
            session.execute(sa.update(Run).where(Run.run_id == run_id).values(cancel_requested=True))
        return run_id


def newest_sample(session: Session, agent_name: str | None) -> Any:
    """When the newest curated record of an agent (of any agent, when None) was curated: what a round has seen."""
    statement = sa.select(sa.func.max(CuratedRecord.curated_at)).where(CuratedRecord.status == "clear")
    if agent_name is not None:
        statement = statement.where(CuratedRecord.agent_name == agent_name)
    return session.scalar(statement)


def _close(engine: sa.Engine, round_id: str, state: str, error: str | None) -> str:
    with session_scope(engine) as session:
        found = session.scalars(sa.select(Round).where(Round.round_id == round_id).with_for_update()).one()
        runs = list(session.scalars(sa.select(Run).where(Run.round_id == round_id)))
        reason = next((run.error for run in runs if run.state == state), None)
        found.state, found.error, found.ended_at = state, error or reason, sa.func.clock_timestamp()
        found.outcome = {
            run.stage: {
                "run_id": run.run_id,
                "state": run.state,
                "artifact_id": run.artifact_id,
                "summary": run.summary or run.error,
            }
            for run in runs
        }
    logger.info("round %s ends, %s", round_id, state)
    return state
