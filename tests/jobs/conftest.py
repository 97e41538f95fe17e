"""A small package of real stages for the worker's tests: each writes an artifact and a row, at the pace it is told."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from preceptor.db.engine import session_scope
from preceptor.db.tables.lineage import Run
from preceptor.jobs.control import RoundView, round_detail
from preceptor.jobs.processes import Timing, child_environment
from preceptor.jobs.triggers import enqueue_round
from preceptor.pipeline import CLOSING_STAGE, ROUND_STAGES, RoundConfig
from preceptor.runs import create_run
from preceptor.settings import Settings

# a clock for tests; grace is shorter than stalled, as in production
FAST = Timing(poll=0.05, grace=2.0, heartbeat=0.5, stalled=6.0, tick=600.0)

_CONFIG = """
from pydantic import BaseModel, ConfigDict

class {name}Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    agent_name: str | None = None
    {wired}
    seconds: float = 0.0
    behavior: str = "polite"
"""

_RUN = """
import os, signal, sys, time
from preceptor.db.engine import session_scope
from preceptor.db.tables.ops import AuditEvent
from preceptor.errors import DataError, GateRefused, RunCanceled
from preceptor.stage import StageResult

def run(config, context):
    steps = int(config.seconds / 0.05) + 1
    for step in range(steps):
        if config.behavior != "deaf" and context.is_canceled():
            raise RunCanceled("stopped between two steps")
        context.progress(step + 1, steps, {{"step": step, "bad": float("nan")}})
        time.sleep(0.05 if config.seconds else 0)
    if config.behavior == "crash once" and not (context.settings.home / "crashed").exists():
        (context.settings.home / "crashed").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if config.behavior == "no data":
        raise DataError("There are 3 pairs; training needs 20. Collect more.")
    if config.behavior == "refuse":
        raise GateRefused("The win rate's lower bound is 0.41, below 0.5.")
    if config.behavior == "bug":
        raise ValueError("".join(["Mrs Plan", "ted Name"]))
    with context.store.building("{kind}") as build:
        (build.path / "made.txt").write_text(context.run_id)
        for field in ("dataset", "reward_model", "policy", "report"):
            if getattr(config, field, None):
                build.parents.append(getattr(config, field))
    with session_scope(context.engine) as session:
        session.add(AuditEvent(action="published", target="{stage}", detail={{"run_id": context.run_id}}))
    torch = "torch" in sys.modules
    return StageResult("{stage} is done", build.artifact.id, {{"steps": steps, "torch_loaded": torch}})
"""

_WIRED = {
    "reward": "dataset: str; base_model: str",
    "policy": "reward_model: str; base_model: str",
    "evaluate": "policy: str; baseline: str; reward_model: str; dataset: str",
    "release": "policy: str; report: str",
    "experiment": "action: str = 'auto'; experiment_id: str | None = None",
}
_KINDS = {"prepare": "dataset", "reward": "reward_model", "policy": "policy"}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of an importable package with every stage, for this process and its children."""
    name = f"toy_{tmp_path.name.replace('-', '_')}"
    for stage in (*ROUND_STAGES, CLOSING_STAGE, "experiment"):
        folder = tmp_path / "stages" / name / stage
        folder.mkdir(parents=True)
        wired = _WIRED.get(stage, "include_simulated: bool = False").replace("; ", "\n    ")
        (folder / "config.py").write_text(_CONFIG.format(name=stage.capitalize(), wired=wired))
        (folder / "run.py").write_text(_RUN.format(stage=stage, kind=_KINDS.get(stage, "report")))
    monkeypatch.syspath_prepend(str(tmp_path / "stages"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "stages"))
    return name


@pytest.fixture
def start_worker(
    settings: Settings, engine: sa.Engine, package: str
) -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    """Start real worker processes; whatever is left of them and their children is killed at the end."""
    settings.home.mkdir(parents=True, exist_ok=True)
    script = (
        "import logging; logging.basicConfig(level='INFO');"
        "from preceptor.jobs.worker import run_worker; from preceptor.jobs.processes import Timing;"
        "from preceptor.settings import load_settings;"
        f"run_worker(load_settings(), timing={FAST!r}, package={package!r})"
    )
    workers: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        with (settings.home / f"worker-{len(workers)}.log").open("wb") as log:
            worker = subprocess.Popen(
                [sys.executable, "-c", script], env=child_environment(settings, engine), stdout=log, stderr=log
            )
        workers.append(worker)
        return worker

    yield start
    for worker in workers:
        if worker.poll() is None:
            os.kill(worker.pid, signal.SIGCONT)
            worker.terminate()
    for worker in workers:
        try:
            worker.wait(10)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()


@pytest.fixture
def enqueue(engine: sa.Engine, settings: Settings, package: str) -> Callable[..., str]:
    """Queue a round whose stages take the given overrides; those before `start_at` have succeeded already."""

    def put(start_at: str = "curate", **overrides: dict[str, object]) -> str:
        config = RoundConfig(agent_name="triage_agent", overrides=overrides)
        with session_scope(engine) as session:
            round_id, _ = enqueue_round(session, config, settings=settings, package=package)
            for stage in ROUND_STAGES[: ROUND_STAGES.index(start_at)]:
                run_id = create_run(session, stage, {}, round_id=round_id)
                done = {"state": "succeeded", "artifact_id": f"{_KINDS.get(stage, 'report')}-0", "attempt": 1}
                session.execute(sa.update(Run).where(Run.run_id == run_id).values(**done))
        return round_id

    return put


@pytest.fixture
def wait_for(engine: sa.Engine) -> Callable[..., RoundView]:
    """Wait until a round's view satisfies a condition; fails with what it saw last."""

    def wait(round_id: str, condition: Callable[[RoundView], bool], seconds: float = 90.0) -> RoundView:
        deadline = time.monotonic() + seconds
        while True:
            view = round_detail(engine, round_id)
            if condition(view):
                return view
            if time.monotonic() > deadline:
                seen = [(run.stage, run.state, run.attempt, run.error) for run in view.runs]
                raise AssertionError(f"{round_id} is {view.state} ({view.error}) with {seen}")
            time.sleep(0.05)

    return wait


@pytest.fixture
def published(engine: sa.Engine) -> Callable[[], list[str]]:
    """The stages whose rows became visible, in order."""

    def read() -> list[str]:
        with engine.connect() as connection:
            return list(
                connection.scalars(sa.text("SELECT target FROM audit_log WHERE action = 'published' ORDER BY id"))
            )

    return read
