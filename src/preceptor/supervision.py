"""A run that is executing in, its heartbeat, its stop signals, its progress row and its fence out.

The fence: every transaction of a fenced engine checks, just before it commits, that its attempt is still the run's
current one. A process that was paused and replaced can burn time, but nothing it writes becomes visible.
"""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event

from preceptor.db.tables.lineage import Run
from preceptor.errors import RunCanceled
from preceptor.stage import Progress

logger = logging.getLogger(__name__)

_FENCE_SHARED = "SELECT pg_advisory_xact_lock_shared(hashtextextended(%s, 0))"
_FENCE_EXCLUSIVE = "SELECT pg_advisory_xact_lock(hashtextextended(:run_id, 0))"


class RunSuperseded(RunCanceled):
    """A later attempt of the same run has started; this one may not publish."""


@dataclass(frozen=True)
class StopSignals:
    """Why a run should stop at its next safe point; each is set once and stays set."""

    canceled: threading.Event = field(default_factory=threading.Event)  # a person asked
    stopped: threading.Event = field(default_factory=threading.Event)  # the worker is going away; run it again later
    superseded: threading.Event = field(default_factory=threading.Event)  # a later attempt has begun

    def is_set(self) -> bool:
        return self.canceled.is_set() or self.stopped.is_set() or self.superseded.is_set()


def lock_fence(connection: sa.Connection, run_id: str) -> None:
    """Wait for commits of the current attempt that are under way; call before changing a run's attempt."""
    connection.execute(sa.text(_FENCE_EXCLUSIVE), {"run_id": run_id})


def fence(engine: sa.Engine, run_id: str, attempt: int) -> None:
    """Let this engine commit only while `attempt` is the run's current one.

    The attempt is read on a second connection, because the committing transaction may run on an older snapshot; the
    shared lock, held until the commit is done, keeps a new attempt from starting in between.
    """
    statement = sa.select(Run.attempt).where(Run.run_id == run_id)

    @event.listens_for(engine, "commit")
    def check(connection: sa.Connection) -> None:
        connection.exec_driver_sql(_FENCE_SHARED, (run_id,))
        with engine.connect() as fresh:
            current = fresh.scalar(statement)
        if current != attempt:
            connection.connection.rollback()  # at once, whatever the caller does with the error: locks are freed
            raise RunSuperseded(f"Run {run_id} is at attempt {current}; attempt {attempt} may not publish any more.")


@contextmanager
def watching(
    engine: sa.Engine,
    run_id: str,
    attempt: int,
    *,
    signals: StopSignals,
    parent: int | None = None,
    interval: float = 1.0,
    grace: float = 10.0,
) -> Iterator[None]:
    """While the block runs, a thread writes the heartbeat and sets `signals` when the run should stop.

    With `parent`, a process id, the death of that parent stops the run, and after `grace` seconds ends the process.
    """
    done = threading.Event()

    def watch() -> None:
        orphaned_at: float | None = None
        while not done.wait(interval):
            if parent is not None and os.getppid() != parent:
                signals.stopped.set()
                orphaned_at = orphaned_at or time.monotonic()
                if time.monotonic() - orphaned_at > grace:
                    os._exit(75)
            _beat(engine, run_id, attempt, signals)

    thread = threading.Thread(target=watch, name=f"watch {run_id}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(timeout=10)


def _beat(engine: sa.Engine, run_id: str, attempt: int, signals: StopSignals) -> None:
    statement = (
        sa.update(Run)
        .where(Run.run_id == run_id, Run.attempt == attempt)
        .values(heartbeat_at=sa.func.clock_timestamp())
        .returning(Run.cancel_requested)
    )
    try:
        with engine.begin() as connection:
            cancel_requested = connection.scalar(statement)
    except RunSuperseded:
        signals.superseded.set()
        return
    except sa.exc.DBAPIError as error:
        logger.warning("heartbeat of %s not written (%s); trying again", run_id, type(error).__name__)
        return
    if cancel_requested is None:
        signals.superseded.set()
    elif cancel_requested:
        signals.canceled.set()


def progress_writer(
    engine: sa.Engine,
    run_id: str,
    attempt: int,
    *,
    interval: float = 1.0,
    clock: Callable[[], float] = time.monotonic,
) -> Progress:
    """A progress function that writes `{done, total, metrics, eta_s}` to the run's row at most once an `interval`."""
    time_left = time_left_estimator(clock)
    written = -math.inf

    def report(done: int, total: int, metrics: dict[str, Any]) -> None:
        nonlocal written
        eta = time_left(done, total)
        now = clock()
        if now - written < interval and done < total:
            return
        written = now
        row = {"done": int(done), "total": int(total), "metrics": jsonable(metrics), "eta_s": eta}
        statement = sa.update(Run).where(Run.run_id == run_id, Run.attempt == attempt).values(progress=row)
        try:
            with engine.begin() as connection:
                connection.execute(statement)
        except sa.exc.DBAPIError as error:  # a short outage of the database must not end a long training run
            logger.warning("progress of %s not written (%s)", run_id, type(error).__name__)

    return report


def time_left_estimator(clock: Callable[[], float] = time.monotonic) -> Callable[[int, int], float | None]:
    """A function of `(done, total)` that tells the seconds left at the rate so far; None before anything was done.

    It starts anew when the total changes or `done` falls: that is another stretch of work.
    """
    began: tuple[float, int, int] | None = None

    def estimate(done: int, total: int) -> float | None:
        nonlocal began
        now = clock()
        if began is None or total != began[2] or done < began[1]:
            began = (now, done, total)
        if done >= total:
            return 0.0
        finished = done - began[1]
        return round((now - began[0]) / finished * (total - done), 1) if finished > 0 else None

    return estimate


def jsonable(value: Any) -> Any:
    """Plain JSON values: numbers of array libraries become Python's, NaN and infinity become null."""
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    if hasattr(value, "item") and not isinstance(value, str | bytes):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)
