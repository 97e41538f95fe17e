"""The demo's round: queued once for each key, and tried again where it failed, with what succeeded kept."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
import sqlalchemy as sa

from preceptor.db.engine import session_scope
from preceptor.db.tables.lineage import Round, Run
from preceptor.demo.config import DemoConfig
from preceptor.demo.training import RoundFailed, run_round
from preceptor.settings import Settings


def as_worker(engine: sa.Engine, act: Callable[[sa.Connection], None]) -> threading.Thread:
    """Act once on the round that is queued, as a worker would."""

    def work() -> None:
        for _ in range(200):
            with engine.begin() as connection:
                if connection.scalar(sa.select(Round.round_id).where(Round.state == "queued")):
                    act(connection)
                    return
            time.sleep(0.05)

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def fail_in_reward(connection: sa.Connection) -> None:
    round_id = connection.scalar(sa.select(Round.round_id))
    states = {"prepare": "succeeded", "reward": "failed"}
    connection.execute(
        sa.insert(Run),
        [
            {"run_id": f"run-{stage}", "round_id": round_id, "stage": stage, "state": state, "attempt": 1, "config": {}}
            for stage, state in states.items()
        ],
    )
    connection.execute(sa.update(Round).values(state="failed", stage="reward", error="No room."))


def succeed(connection: sa.Connection) -> None:
    connection.execute(sa.update(Round).values(state="succeeded"))


def test_a_failed_round_is_tried_again_and_keeps_what_succeeded(engine: sa.Engine, settings: Settings) -> None:
    worker = as_worker(engine, fail_in_reward)
    with pytest.raises(RoundFailed, match=r"failed in stage reward: No room\."):
        run_round(engine, settings, DemoConfig(), key="demo:1", progress=lambda *_: None)
    worker.join()
    worker = as_worker(engine, succeed)
    result = run_round(engine, settings, DemoConfig(), key="demo:1", progress=lambda *_: None)
    worker.join()
    with session_scope(engine) as session:
        assert session.scalars(sa.select(Round.round_id)).all() == [result["round_id"]]
        runs = {run.stage: (run.run_id, run.state, run.attempt) for run in session.scalars(sa.select(Run))}
    assert runs == {"prepare": ("run-prepare", "succeeded", 1), "reward": ("run-reward", "queued", 2)}


def test_a_round_that_ended_well_is_not_run_again(engine: sa.Engine, settings: Settings) -> None:
    worker = as_worker(engine, succeed)
    first = run_round(engine, settings, DemoConfig(), key="demo:1", progress=lambda *_: None)
    worker.join()
    assert run_round(engine, settings, DemoConfig(), key="demo:1", progress=lambda *_: None) == first
