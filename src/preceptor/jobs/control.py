"""Round and run ids in, their state, progress and log out; and the two buttons: cancel and try again."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from preceptor.db.engine import session_scope
from preceptor.db.tables.lineage import Round, Run
from preceptor.errors import ConflictError, NotFoundError
from preceptor.jobs.queue import defer_round
from preceptor.pipeline import STAGES
from preceptor.runs import ENDED
from preceptor.settings import Settings

_TAIL_BYTES = 256 * 1024


@dataclass(frozen=True)
class RunView:
    """One run as a person sees it. `progress` holds the numbers of the moment, `metrics` the final ones."""

    run_id: str
    round_id: str | None
    stage: str
    state: str
    attempt: int
    done: int
    total: int
    eta_s: float | None
    progress: dict[str, Any]
    metrics: dict[str, Any]
    config: dict[str, Any]
    summary: str | None
    artifact_id: str | None
    error: str | None
    cancel_requested: bool
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    heartbeat_at: datetime | None


@dataclass(frozen=True)
class RoundView:
    """One round as a person sees it; its runs in the order of the stages (empty in a list of rounds)."""

    round_id: str
    agent_name: str | None
    trigger_key: str
    state: str
    stage: str | None
    error: str | None
    config: dict[str, Any]
    cancel_requested: bool
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    runs: list[RunView] = field(default_factory=list)

    @property
    def has_ended(self) -> bool:
        return self.state in ENDED


def list_rounds(engine: sa.Engine, *, limit: int = 50) -> list[RoundView]:
    """The newest rounds, newest first."""
    with session_scope(engine) as session:
        rounds = session.scalars(sa.select(Round).order_by(Round.id.desc()).limit(limit))
        return [_round_view(found, []) for found in rounds]


def list_runs(engine: sa.Engine, *, limit: int = 50) -> list[RunView]:
    """The newest runs, inside rounds and outside, newest first."""
    with session_scope(engine) as session:
        return [_run_view(run) for run in session.scalars(sa.select(Run).order_by(Run.id.desc()).limit(limit))]


def round_detail(engine: sa.Engine, round_id: str) -> RoundView:
    """A round with its runs.

    Raises:
        NotFoundError: there is no such round.
    """
    with session_scope(engine) as session:
        runs = list(session.scalars(sa.select(Run).where(Run.round_id == round_id)))
        return _round_view(_load_round(session, round_id), sorted(runs, key=lambda run: STAGES.index(run.stage)))


def run_detail(engine: sa.Engine, run_id: str) -> RunView:
    """One run.

    Raises:
        NotFoundError: there is no such run.
    """
    with session_scope(engine) as session:
        return _run_view(_load_run(session, run_id))


def follow_round(engine: sa.Engine, round_id: str, *, interval: float = 0.5) -> Iterator[RoundView]:
    """The round again and again while it goes on; the last view is of the ended round."""
    while True:
        view = round_detail(engine, round_id)
        yield view
        if view.has_ended:
            return
        time.sleep(interval)


def cancel_round(engine: sa.Engine, round_id: str) -> str:
    """Ask a round to stop and return its state: `canceled` at once if it waits, else when its stage has stopped."""
    with session_scope(engine) as session:
        found = _load_round(session, round_id, lock=True)
        if found.state in ENDED:
            return found.state
        found.cancel_requested = True
        open_runs = sa.update(Run).where(Run.round_id == round_id, Run.state.in_(("queued", "running")))
        session.execute(open_runs.values(cancel_requested=True))
        if found.state == "queued":
            found.state, found.ended_at = "canceled", sa.func.clock_timestamp()
            session.flush()
        return found.state


def cancel_run(engine: sa.Engine, run_id: str) -> str:
    """Ask one run to stop; a round that it belongs to is canceled with it."""
    with session_scope(engine) as session:
        run = _load_run(session, run_id)
        if run.state in ENDED:
            return run.state
        run.cancel_requested = True
        round_id, state = run.round_id, run.state
    if round_id is not None:
        cancel_round(engine, round_id)
    return state


def retry_round(engine: sa.Engine, round_id: str) -> None:
    """Queue a failed or canceled round again; what succeeded is kept.

    Raises:
        ConflictError: the round has not ended, or ended well, or was refused by its gate.
    """
    with session_scope(engine) as session:
        found = _load_round(session, round_id, lock=True)
        if found.state not in ("failed", "canceled"):
            raise ConflictError(f"{round_id} is {found.state}; only a failed or canceled round is tried again.")
        found.state, found.cancel_requested, found.error, found.ended_at = "queued", False, None, None
        again = sa.update(Run).where(Run.round_id == round_id, Run.state.in_(("failed", "canceled")))
        session.execute(
            again.values(state="queued", cancel_requested=False, error=None, ended_at=None, attempt=Run.attempt + 1)
        )
        defer_round(session, round_id)


def tail_log(settings: Settings, run_id: str, *, lines: int = 200) -> str:
    """The end of a run's log; empty before its process has written anything.

    Raises:
        NotFoundError: this is not the form of a run id.
    """
    if not re.fullmatch(r"run-[0-9a-f]{12}", run_id):
        raise NotFoundError("That is not a run id; they look like run-0123456789ab.")
    path: Path = settings.logs_dir / f"{run_id}.log"
    if not path.exists():
        return ""
    with path.open("rb") as handle:
        handle.seek(max(0, path.stat().st_size - _TAIL_BYTES))
        text = handle.read().decode("utf-8", errors="replace")
    return "\n".join(text.splitlines()[-lines:])


def _load_round(session: Session, round_id: str, *, lock: bool = False) -> Round:
    statement = sa.select(Round).where(Round.round_id == round_id)
    found = session.scalar(statement.with_for_update() if lock else statement)
    if found is None:
        raise NotFoundError(f"There is no round '{round_id}'. `preceptor round list` names them.")
    return found


def _load_run(session: Session, run_id: str) -> Run:
    found = session.scalar(sa.select(Run).where(Run.run_id == run_id))
    if found is None:
        raise NotFoundError(f"There is no run '{run_id}'.")
    return found


def _run_view(run: Run) -> RunView:
    now = run.progress
    return RunView(
        run_id=run.run_id,
        round_id=run.round_id,
        stage=run.stage,
        state=run.state,
        attempt=run.attempt,
        done=now.get("done", 0),
        total=now.get("total", 0),
        eta_s=now.get("eta_s") if run.state == "running" else None,
        progress=now.get("metrics", {}),
        metrics=run.metrics,
        config=run.config,
        summary=run.summary,
        artifact_id=run.artifact_id,
        error=run.error,
        cancel_requested=run.cancel_requested,
        created_at=run.created_at,
        started_at=run.started_at,
        ended_at=run.ended_at,
        heartbeat_at=run.heartbeat_at,
    )


def _round_view(found: Round, runs: list[Run]) -> RoundView:
    return RoundView(
        round_id=found.round_id,
        agent_name=found.agent_name,
        trigger_key=found.trigger_key,
        state=found.state,
        stage=found.stage,
        error=found.error,
        config=found.config,
        cancel_requested=found.cancel_requested,
        created_at=found.created_at,
        started_at=found.started_at,
        ended_at=found.ended_at,
        runs=[_run_view(run) for run in runs],
    )
