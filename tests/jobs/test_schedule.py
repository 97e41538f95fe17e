"""What the worker does by the clock: curate when that could start a round, monitor, analyze experiments."""

from __future__ import annotations

import dataclasses
import threading

import pytest
import sqlalchemy as sa

from preceptor.db.engine import session_scope
from preceptor.db.tables.lineage import Run
from preceptor.db.tables.rollout import Experiment, Release
from preceptor.jobs.control import list_runs, tail_log
from preceptor.jobs.processes import Timing
from preceptor.jobs.schedule import due_stages, tick
from preceptor.jobs.triggers import retrain_status

TIMING = Timing(poll=0.05, grace=2.0, monitor_every=300.0, experiment_every=60.0)


def add_raw(engine: sa.Engine, count: int) -> None:
    row = "INSERT INTO rlhf_feedback (feedback_id, session_id, agent_name, user_query, agent_response, rating)"
    with engine.begin() as connection:
        for number in range(count):
            connection.execute(
                sa.text(
                    f"{row} VALUES ('f{number}', 's', 'triage_agent', 'Dose of lisinopril?', '10 mg once a day', 4)"
                )
            )


@pytest.fixture
def experiment(engine: sa.Engine) -> str:
    with session_scope(engine) as session:
        for version in (1, 2):
            session.add(
                Release(
                    release_id=f"r{version}",
                    agent_name="triage_agent",
                    version=version,
                    model="m",
                    digest=f"d{version}",
                    state="active",
                )
            )
        session.flush()
        common = {"agent_name": "triage_agent", "hash_seed": "s", "state": "running"}
        session.add(Experiment(experiment_id="e1", control_release_id="r1", treatment_release_id="r2", **common))
    return "e1"


def test_monitor_and_running_experiments_come_due_by_their_interval(engine, experiment):
    analyze = ("experiment", {"agent_name": "triage_agent", "action": "analyze", "experiment_id": "e1"})
    assert due_stages(engine, TIMING) == [("monitor", {}), analyze]
    with session_scope(engine) as session:
        session.add(Run(run_id="run-1", stage="monitor", config={}))
        session.add(Run(run_id="run-2", stage="experiment", config=analyze[1]))
    assert due_stages(engine, TIMING) == []
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE runs SET created_at = now() - interval '2 minutes'"))
    assert due_stages(engine, TIMING) == [analyze]


def test_one_tick_curates_and_runs_what_is_due_in_child_processes(engine, settings, package, experiment):
    add_raw(engine, 3)
    three = settings.model_copy(update={"retrain_threshold": 3})
    tick(three, engine, stop=threading.Event(), timing=TIMING, package=package)
    done = [(run.stage, run.state) for run in reversed(list_runs(engine))]
    assert done == [("curate", "succeeded"), ("monitor", "succeeded"), ("experiment", "succeeded")]


def test_raw_judgements_are_curated_by_the_real_stage_and_start_a_round(engine, settings):
    add_raw(engine, 3)
    never = dataclasses.replace(TIMING, monitor_every=1e9)
    with session_scope(engine) as session:
        session.add(Run(run_id="run-1", stage="monitor", config={}, state="succeeded"))
    three = settings.model_copy(update={"retrain_threshold": 3})
    tick(three, engine, stop=threading.Event(), timing=never, package="preceptor")
    (status,) = retrain_status(engine, three)
    assert (status.eligible, status.new, status.waiting, status.last_state) == (3, 0, 0, "queued")
    curated = list_runs(engine)[0]
    assert (curated.stage, curated.state, curated.done) == ("curate", "succeeded", 3)
    assert "lisinopril" not in tail_log(three, curated.run_id)


def test_nothing_is_curated_while_the_threshold_is_out_of_reach(engine, settings, package):
    add_raw(engine, 2)
    never = dataclasses.replace(TIMING, monitor_every=1e9)
    with session_scope(engine) as session:
        session.add(Run(run_id="run-1", stage="monitor", config={}, state="succeeded"))
    three = settings.model_copy(update={"retrain_threshold": 3})
    tick(three, engine, stop=threading.Event(), timing=never, package=package)
    assert [run.stage for run in list_runs(engine)] == ["monitor"]


def test_only_one_worker_keeps_the_schedule(engine, settings, package):
    with engine.connect() as other:
        other.execute(sa.text("SELECT pg_advisory_lock(x'7363686564'::bigint)"))
        tick(settings, engine, stop=threading.Event(), timing=TIMING, package=package)
        other.execute(sa.text("SELECT pg_advisory_unlock_all()"))
    assert list_runs(engine) == []
