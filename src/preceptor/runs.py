"""A stage and its config in, an executed run out: its row, its artifact and its lineage, in one transaction."""

from __future__ import annotations

import logging
import secrets
import threading
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import sqlalchemy as sa
from pydantic import BaseModel
from sqlalchemy.orm import Session

from preceptor.artifacts.lineage import record_artifact
from preceptor.artifacts.store import ArtifactStore
from preceptor.db.engine import connect, make_engine, session_scope
from preceptor.db.tables.lineage import Run
from preceptor.errors import ConflictError, GateRefused, NotFoundError, PreceptorError, RunCanceled
from preceptor.pipeline import parse_config, stage_function
from preceptor.settings import Settings
from preceptor.stage import Progress, StageContext, StageResult
from preceptor.supervision import (
    RunSuperseded,
    StopSignals,
    fence,
    jsonable,
    lock_fence,
    progress_writer,
    watching,
)

logger = logging.getLogger(__name__)

ENDED = ("succeeded", "refused", "failed", "canceled")
_DATABASE_PATIENCE = 60.0  # seconds to wait for the database when a finished run is to be recorded
# messages of these types name files, shapes and types, never the text that was being processed
_SAFE_TO_QUOTE = (OSError, MemoryError, RuntimeError, ImportError, AttributeError, NotImplementedError)


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended. `state` is one of ENDED, or `queued` (stopped, to be run again), or `superseded`."""

    state: str
    result: StageResult | None = None
    error: BaseException | None = None


def create_run(
    session: Session, stage: str, config: BaseModel | Mapping[str, Any], *, round_id: str | None = None
) -> str:
    """Store a queued run and return its id; the caller commits."""
    values = config.model_dump(mode="json") if isinstance(config, BaseModel) else jsonable(config)
    run = Run(run_id=f"run-{secrets.token_hex(6)}", round_id=round_id, stage=stage, config=values)
    session.add(run)
    session.flush()
    return run.run_id


def start_attempt(engine: sa.Engine, run_id: str, *, log_path: str | None = None) -> int:
    """Begin the next attempt of a run that has not ended; whatever attempt came before may not publish any more.

    Raises:
        ConflictError: the run has ended.
        NotFoundError: there is no such run.
    """
    with session_scope(engine) as session:
        lock_fence(session.connection(), run_id)
        run = session.scalar(sa.select(Run).where(Run.run_id == run_id).with_for_update())
        if run is None:
            raise NotFoundError(f"There is no run '{run_id}'.")
        if run.state in ENDED:
            raise ConflictError(f"Run {run_id} has ended ({run.state}) and is not started again.")
        run.state, run.attempt, run.error, run.log_path = "running", run.attempt + 1, None, log_path or run.log_path
        run.started_at = run.heartbeat_at = sa.func.clock_timestamp()
        session.flush()
        return run.attempt


def execute_run(
    settings: Settings,
    run_id: str,
    attempt: int,
    *,
    package: str = "preceptor",
    signals: StopSignals | None = None,
    parent: int | None = None,
) -> Outcome:
    """Execute an attempt that was started: what the child process of a worker does."""
    engine = make_engine(settings)
    try:
        with session_scope(engine) as session:
            run = session.scalar(sa.select(Run).where(Run.run_id == run_id))
            if run is None or run.attempt != attempt or run.state != "running":
                return Outcome("superseded")
            stage, values = run.stage, run.config
        signals = signals or StopSignals()
        writer = progress_writer(engine, run_id, attempt)
        return _attempt(settings, engine, (run_id, attempt, stage, package), values, signals, writer, parent)
    finally:
        engine.dispose()


def run_stage_now(
    settings: Settings,
    stage: str,
    config: BaseModel,
    *,
    progress: Progress | None = None,
    asked_to_stop: threading.Event | None = None,
    package: str = "preceptor",
) -> StageResult:
    """Run one stage here and now, as `preceptor STAGE` does; it has a row and lineage like any other run.

    Once `asked_to_stop` is set the stage ends at its next safe point, as canceled.

    Raises:
        PreceptorError: whatever the stage raised; the run is recorded as failed, refused or canceled first.
    """
    engine = connect(settings)
    try:
        with session_scope(engine) as session:
            run_id = create_run(session, stage, config)
        attempt = start_attempt(engine, run_id)
        writer = progress_writer(engine, run_id, attempt)

        def report(done: int, total: int, metrics: dict[str, Any]) -> None:
            if progress is not None:
                progress(done, total, metrics)
            writer(done, total, metrics)

        values = config.model_dump(mode="json")
        signals = StopSignals(canceled=asked_to_stop or threading.Event())
        outcome = _attempt(settings, engine, (run_id, attempt, stage, package), values, signals, report, None)
        if outcome.error is not None:
            raise outcome.error
        if outcome.result is None:
            raise ConflictError(f"Run {run_id} was superseded.")
        return outcome.result
    finally:
        engine.dispose()


def _attempt(
    settings: Settings,
    engine: sa.Engine,
    identity: tuple[str, int, str, str],
    values: Mapping[str, Any],
    signals: StopSignals,
    progress: Progress,
    parent: int | None,
) -> Outcome:
    run_id, attempt, stage, package = identity
    store = ArtifactStore(settings.artifacts_dir)
    fence(engine, run_id, attempt)
    context = StageContext(settings, engine, store, run_id, progress, signals.is_set)
    logger.info("run %s: %s starts, attempt %d", run_id, stage, attempt)
    with watching(engine, run_id, attempt, signals=signals, parent=parent):
        outcome = _perform(context, stage, values, signals, package)
        if outcome.state == "queued" and _cancel_requested(engine, run_id):
            outcome = replace(outcome, state="canceled")  # told to stop because a person canceled it
        if outcome.state != "superseded":
            try:
                _record(engine, store, identity, outcome)
            except RunSuperseded as error:
                outcome = Outcome("superseded", error=error)
    logger.info("run %s: %s ends, %s", run_id, stage, outcome.state)
    return outcome


def _perform(
    context: StageContext, stage: str, values: Mapping[str, Any], signals: StopSignals, package: str
) -> Outcome:
    try:
        result = stage_function(stage, package=package)(parse_config(stage, values, package=package), context)
        return Outcome("succeeded", result)
    except RunSuperseded as error:
        return Outcome("superseded", error=error)
    except RunCanceled as error:
        if signals.superseded.is_set():
            return Outcome("superseded", error=error)
        return Outcome(
            "queued" if signals.stopped.is_set() and not signals.canceled.is_set() else "canceled", None, error
        )
    except GateRefused as error:
        return Outcome("refused", error=error)
    except KeyboardInterrupt as error:
        return Outcome("canceled", error=error)
    except PreceptorError as error:
        return Outcome("failed", error=error)
    except Exception as error:
        logger.error("run %s failed unexpectedly: %s", context.run_id, describe_unexpected(error))
        return Outcome("failed", error=error)


def _cancel_requested(engine: sa.Engine, run_id: str) -> bool:
    with engine.connect() as connection:
        return bool(connection.scalar(sa.select(Run.cancel_requested).where(Run.run_id == run_id)))


def _record(engine: sa.Engine, store: ArtifactStore, identity: tuple[str, int, str, str], outcome: Outcome) -> None:
    deadline = time.monotonic() + _DATABASE_PATIENCE
    while True:
        try:
            with session_scope(engine) as session:
                end_run(session, identity[0], identity[1], outcome, store=store)
            return
        except sa.exc.OperationalError:
            if time.monotonic() > deadline:
                raise
            logger.warning("run %s: the database does not answer; its end is not recorded yet", identity[0])
            time.sleep(1.0)


def end_run(session: Session, run_id: str, attempt: int, outcome: Outcome, *, store: ArtifactStore) -> None:
    """Record how an attempt ended, with its artifact and lineage, if it is still the run's current attempt.

    Raises:
        RunSuperseded: a later attempt has begun, or the run was ended by someone else; nothing is recorded.
    """
    result = outcome.result
    values: dict[str, Any] = {"state": outcome.state, "error": _error_sentence(outcome.error)}
    if outcome.state in ENDED:
        values["ended_at"] = sa.func.clock_timestamp()
    if result is not None:
        values |= {"metrics": jsonable(result.metrics), "summary": result.summary, "artifact_id": result.artifact_id}
        if result.artifact_id is not None:
            record_artifact(session, store.open(result.artifact_id), run_id=run_id)
    current = sa.update(Run).where(Run.run_id == run_id, Run.attempt == attempt, Run.state == "running")
    if session.execute(current.values(**values).returning(Run.id)).first() is None:
        raise RunSuperseded(f"Run {run_id} goes on without attempt {attempt}; nothing was recorded.")


def _error_sentence(error: BaseException | None) -> str | None:
    if error is None:
        return None
    if isinstance(error, PreceptorError):
        return error.message
    if isinstance(error, KeyboardInterrupt):
        return "Interrupted from the keyboard."
    quoted = f": {str(error)[:300]}" if isinstance(error, _SAFE_TO_QUOTE) and str(error) else ""
    return f"The stage ended with an unexpected {type(error).__name__}{quoted}. The run's log shows the place."


def describe_unexpected(error: BaseException) -> str:
    """The type and the place of an error; its words only where they cannot quote clinical text."""
    words = f": {error}" if isinstance(error, _SAFE_TO_QUOTE) else ""
    places = "".join(traceback.format_tb(error.__traceback__))
    return f"{type(error).__name__}{words}\n{places}"
