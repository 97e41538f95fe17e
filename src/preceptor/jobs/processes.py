"""A queued run in, its ended state out: each attempt is a child process of its own group, watched until it ends."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from pydantic import SecretStr

from preceptor.db.engine import session_scope
from preceptor.db.tables.lineage import Run
from preceptor.jobs.app import RoundInterrupted
from preceptor.runs import ENDED, start_attempt
from preceptor.settings import Settings

logger = logging.getLogger(__name__)

MAX_ATTEMPTS = 5  # a run whose process vanishes this often is failed: it would take every worker down


@dataclass(frozen=True)
class Timing:
    """The worker's clock, in seconds."""

    poll: float = 0.25  # how often a child is looked at
    grace: float = 20.0  # how long a child may take to stop politely; less than `stalled`
    heartbeat: float = 3.0  # how often the worker says that it lives
    stalled: float = 30.0  # a worker silent for this long has lost its jobs
    tick: float = 10.0  # how often triggers and schedules are looked at
    monitor_every: float = 300.0
    experiment_every: float = 60.0
    sweep: float = 3600.0  # how often what has served its time is removed


def child_environment(settings: Settings, engine: sa.Engine) -> dict[str, str]:
    """The environment that gives a child exactly these settings, on this engine's database."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PRECEPTOR_")}
    environment.pop("DATABASE_URL", None)
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, SecretStr):
            value = value.get_secret_value()
        if value is not None:
            environment[f"PRECEPTOR_{name.upper()}"] = str(value)
    address = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    return environment | {"PRECEPTOR_DATABASE_URL": address}


def run_to_end(
    settings: Settings, engine: sa.Engine, run_id: str, *, stop: threading.Event, timing: Timing, package: str
) -> str:
    """Run attempts in child processes until the run has ended; a run that has ended already is not repeated.

    Returns:
        One of ENDED, or `superseded` when another worker has taken the run over.

    Raises:
        RoundInterrupted: `stop` was set; the run is queued again.
    """
    while True:
        with session_scope(engine) as session:
            run = session.scalars(sa.select(Run).where(Run.run_id == run_id).with_for_update()).one()
            if run.state in ENDED:
                return run.state
            if run.cancel_requested:
                return _close(run, "canceled", "Canceled before it started.")
            if run.state == "running" and run.attempt >= MAX_ATTEMPTS:
                return _close(run, "failed", f"Started {run.attempt} times; its process vanished the last time too.")
        if stop.is_set():
            raise RoundInterrupted(f"Run {run_id} waits for the next worker.")
        log_path = settings.logs_dir / f"{run_id}.log"
        attempt = start_attempt(engine, run_id, log_path=str(log_path))
        code = _run_child(settings, engine, (run_id, attempt), log_path, stop=stop, timing=timing, package=package)
        state = _settle(engine, run_id, attempt, code, stop)
        if state != "queued":
            return state


def _run_child(
    settings: Settings,
    engine: sa.Engine,
    identity: tuple[str, int],
    log_path: Path,
    *,
    stop: threading.Event,
    timing: Timing,
    package: str,
) -> int:
    run_id, attempt = identity
    command = [sys.executable, "-m", "preceptor.jobs.child", "--run-id", run_id, "--attempt", str(attempt)]
    command += ["--parent", str(os.getpid()), "--package", package]
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with log_path.open("ab") as log:
        process = subprocess.Popen(
            command,
            env=child_environment(settings, engine),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    logger.info("run %s attempt %d is process %d", run_id, attempt, process.pid)
    asked_at: float | None = None
    try:
        while process.poll() is None:
            if asked_at is None and (stop.is_set() or _should_stop(engine, run_id, attempt)):
                asked_at = time.monotonic()
                process.terminate()
            if asked_at is not None and time.monotonic() - asked_at > timing.grace:
                _kill_group(process.pid)
            time.sleep(timing.poll)
    finally:
        _kill_group(process.pid)  # whatever the child itself had started
    return process.wait()


def _should_stop(engine: sa.Engine, run_id: str, attempt: int) -> bool:
    try:
        with engine.connect() as connection:
            row = connection.execute(sa.select(Run.attempt, Run.cancel_requested).where(Run.run_id == run_id)).one()
    except sa.exc.OperationalError:
        logger.warning("the database does not answer; run %s goes on", run_id)
        time.sleep(1.0)
        return False
    return bool(row.cancel_requested) or row.attempt != attempt


def _settle(engine: sa.Engine, run_id: str, attempt: int, code: int, stop: threading.Event) -> str:
    """What became of an attempt whose process is gone: what it recorded, or else what its exit code tells."""
    with session_scope(engine) as session:
        run = session.scalars(sa.select(Run).where(Run.run_id == run_id).with_for_update()).one()
        if run.attempt != attempt:
            return "superseded"
        if run.state != "running":
            return run.state
        if run.cancel_requested:
            return _close(run, "canceled", "Canceled; its process did not stop in time and was ended.")
        if code < 0 and not stop.is_set() and attempt >= MAX_ATTEMPTS:
            name = signal.Signals(-code).name
            return _close(
                run, "failed", f"Its process was ended by {name} {attempt} times; often that is want of memory."
            )
        if code < 0 or stop.is_set():
            run.state = "queued"
            return "queued"
        return _close(run, "failed", f"Its process ended with code {code} before it recorded a result. See its log.")


def _close(run: Run, state: str, reason: str) -> str:
    run.state, run.error, run.ended_at = state, reason, sa.func.clock_timestamp()
    return state


def _kill_group(process_id: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process_id, signal.SIGKILL)
