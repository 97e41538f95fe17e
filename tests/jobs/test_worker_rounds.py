"""Real workers, real child processes, a real database: what a round survives."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import psutil
import sqlalchemy as sa

from preceptor.artifacts.lineage import ancestors
from preceptor.artifacts.store import ArtifactStore
from preceptor.db.engine import session_scope
from preceptor.jobs.control import RoundView, cancel_round, retry_round, tail_log
from preceptor.pipeline import CLOSING_STAGE, ROUND_STAGES
from preceptor.settings import Settings

ALL = [*ROUND_STAGES, CLOSING_STAGE]


def has_ended(view: RoundView) -> bool:
    return view.has_ended


def is_in(stage: str) -> Callable[[RoundView], bool]:
    """The stage is at work: its process has reported progress."""
    return lambda view: any(run.stage == stage and run.state == "running" and run.done > 0 for run in view.runs)


def test_a_round_runs_every_stage_in_order_and_records_the_lineage(
    engine, settings: Settings, enqueue, wait_for, published, start_worker
):
    began = time.monotonic()
    worker = start_worker()
    while "worker ready" not in (settings.home / "worker-0.log").read_text():
        assert time.monotonic() - began < 30
        time.sleep(0.02)
    assert psutil.Process(worker.pid).cpu_times().user < 2.0  # CPU time: the machine may be busy
    assert not [entry.path for entry in psutil.Process(worker.pid).memory_maps() if "libtorch" in entry.path]

    view = wait_for(enqueue(policy={"seconds": 0.5}), has_ended)
    assert view.state == "succeeded", [(run.stage, run.error) for run in view.runs]
    assert [run.stage for run in view.runs] == published() == ALL
    assert {run.metrics["torch_loaded"] for run in view.runs} == {False}
    runs = {run.stage: run for run in view.runs}
    assert runs["evaluate"].config["policy"] == runs["policy"].artifact_id
    assert runs["evaluate"].config["baseline"] == settings.policy_model
    assert runs["release"].config["report"] == runs["evaluate"].artifact_id
    assert runs["policy"].done == runs["policy"].total > 1
    assert runs["policy"].progress["bad"] is None  # NaN is not JSON
    with session_scope(engine) as session:
        made_from = ancestors(session, runs["evaluate"].artifact_id)
    assert set(made_from) == {runs[name].artifact_id for name in ("policy", "reward", "prepare")}
    assert ArtifactStore(settings.artifacts_dir).open(runs["policy"].artifact_id, verify=True)
    assert "policy ends, succeeded" in tail_log(settings, runs["policy"].run_id)


def test_killed_and_terminated_workers_lose_nothing_and_repeat_nothing_that_succeeded(
    enqueue, wait_for, published, start_worker, engine
):
    first = start_worker()
    round_id = enqueue("policy", policy={"seconds": 1.5}, evaluate={"seconds": 1.5})
    wait_for(round_id, is_in("policy"))
    children = psutil.Process(first.pid).children(recursive=True)
    first.kill()
    first.wait()
    second = start_worker()
    wait_for(round_id, is_in("evaluate"))
    second.terminate()
    assert second.wait(30) == 0
    with engine.connect() as connection:
        statuses = connection.scalars(sa.text("SELECT status FROM procrastinate_jobs ORDER BY id")).all()
    assert statuses == ["failed", "todo"]  # the killed worker's job was replaced, the polite one's put back
    start_worker()
    view = wait_for(round_id, has_ended)
    assert view.state == "succeeded"
    ran = ["policy", "evaluate", "release", "monitor"]
    assert published() == ran  # each exactly once
    attempts = {run.stage: run.attempt for run in view.runs}
    assert [attempts[stage] for stage in ("reward", *ran)] == [1, 2, 2, 1, 1]
    _, alive = psutil.wait_procs(children, timeout=15)
    assert not alive, "the orphaned child went on"
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM artifacts")) == len(ran)


def test_a_paused_worker_that_was_replaced_cannot_publish(enqueue, wait_for, published, start_worker):
    first = start_worker()
    round_id = enqueue("release", release={"seconds": 3.0, "behavior": "deaf"})
    wait_for(round_id, is_in("release"))
    frozen = [first.pid, *(child.pid for child in psutil.Process(first.pid).children(recursive=True))]
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    start_worker()
    wait_for(round_id, lambda view: any(run.stage == "release" and run.attempt == 2 for run in view.runs))
    for pid in reversed(frozen):
        os.kill(pid, signal.SIGCONT)
    assert wait_for(round_id, has_ended).state == "succeeded"
    assert published() == ["release", "monitor"]


def test_two_workers_share_one_queue_and_no_stage_runs_twice(enqueue, wait_for, published, start_worker):
    rounds = [enqueue("release", release={"seconds": 0.5}) for _ in range(2)]
    start_worker()
    start_worker()
    for round_id in rounds:
        view = wait_for(round_id, has_ended)
        assert view.state == "succeeded"
        assert {run.attempt for run in view.runs} == {1}
    assert sorted(published()) == ["monitor", "monitor", "release", "release"]


def test_a_canceled_round_stops_politely_and_can_be_tried_again(engine, enqueue, wait_for, published, start_worker):
    start_worker()
    round_id = enqueue("evaluate", release={"seconds": 3.0})
    wait_for(round_id, is_in("release"))
    assert cancel_round(engine, round_id) == "running"
    view = wait_for(round_id, has_ended)
    assert (view.state, view.runs[-1].stage, view.runs[-1].state) == ("canceled", "release", "canceled")
    assert view.runs[-1].error == "stopped between two steps"
    assert published() == ["evaluate"]
    retry_round(engine, round_id)
    assert wait_for(round_id, has_ended).state == "succeeded"
    assert published() == ["evaluate", "release", "monitor"]


def test_a_worker_and_its_stage_outlive_lost_database_connections(engine, enqueue, wait_for, published, start_worker):
    start_worker()
    round_id = enqueue("release", release={"seconds": 3.0})
    wait_for(round_id, is_in("release"))
    engine.dispose()
    everyone = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
    with engine.connect() as connection:
        lost = connection.execute(sa.text(everyone + " AND pid <> pg_backend_pid()")).all()
    assert len(lost) >= 3  # the worker's and the stage's
    view = wait_for(round_id, has_ended)
    assert (view.state, published()) == ("succeeded", ["release", "monitor"])
    assert wait_for(enqueue("release"), has_ended).state == "succeeded"  # the queue is served again


def test_a_stage_that_does_not_listen_is_killed_after_the_grace(engine, enqueue, wait_for, published, start_worker):
    start_worker()
    round_id = enqueue("evaluate", evaluate={"seconds": 60.0, "behavior": "deaf"})
    wait_for(round_id, is_in("evaluate"))
    cancel_round(engine, round_id)
    view = wait_for(round_id, has_ended)
    assert view.state == "canceled"
    assert "did not stop in time" in view.runs[-1].error
    assert published() == []


def test_rounds_end_as_failed_or_refused_with_the_reason_and_without_quoting_data(
    enqueue, wait_for, published, start_worker, settings: Settings
):
    start_worker()
    poor = enqueue("prepare", prepare={"behavior": "no data"})
    refused = enqueue("release", release={"behavior": "refuse"})
    broken = enqueue("release", release={"behavior": "bug"})
    killed = enqueue("release", release={"behavior": "crash once"})
    view = wait_for(poor, has_ended)
    assert (view.state, view.error) == ("failed", "There are 3 pairs; training needs 20. Collect more.")
    assert view.runs[-1].stage == "prepare"
    view = wait_for(refused, has_ended)
    assert (view.state, view.error) == ("refused", "The win rate's lower bound is 0.41, below 0.5.")
    assert view.runs[-1].stage == CLOSING_STAGE  # monitor looks at refused rounds too
    view = wait_for(broken, has_ended)
    assert view.state == "failed"
    assert "unexpected ValueError" in view.error
    written = view.error + "".join(path.read_text() for path in settings.home.rglob("*.log"))
    assert "in run" in written  # the log shows the place
    assert "Planted" not in written
    view = wait_for(killed, has_ended)  # a process that dies without a word is tried again
    assert (view.state, view.runs[-2].attempt) == ("succeeded", 2)
    assert published().count("release") == 1
