"""Real workers, real child processes, a real database: what a round survives."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import sqlalchemy as sa

from preceptor.artifacts.lineage import ancestors
from preceptor.artifacts.store import ArtifactStore
from preceptor.db.engine import session_scope
from preceptor.jobs.control import RoundView, cancel_round, retry_round, run_detail, tail_log
from preceptor.pipeline import CLOSING_STAGE, ROUND_STAGES
from preceptor.settings import Settings

ALL = [*ROUND_STAGES, CLOSING_STAGE]


def has_ended(view: RoundView) -> bool:
    return view.has_ended


def is_in(stage: str) -> Callable[[RoundView], bool]:
    """The stage is at work: its process has reported progress."""
    return lambda view: any(run.stage == stage and run.state == "running" and run.done > 0 for run in view.runs)


def test_a_round_runs_every_stage_in_order_and_records_the_lineage(engine, settings, enqueue, wait_for, published, start_worker):
    began = time.monotonic()
    start_worker()
    round_id = enqueue(policy={"seconds": 0.5})
    view = wait_for(round_id, has_ended)
    assert view.state == "succeeded", [(run.stage, run.error) for run in view.runs]
    assert time.monotonic() - began < 30
    assert [run.stage for run in view.runs] == ALL
    assert published() == ALL
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


def test_after_the_worker_is_killed_the_next_one_ends_the_round_without_repeating_what_succeeded(
    enqueue, wait_for, published, start_worker, engine
):
    first = start_worker()
    round_id = enqueue(reward={"seconds": 1.5}, evaluate={"seconds": 1.0})
    wait_for(round_id, is_in("reward"))
    children = psutil.Process(first.pid).children(recursive=True)
    first.kill()
    first.wait()
    second = start_worker()
    wait_for(round_id, is_in("evaluate"))
    second.kill()
    second.wait()
    start_worker()
    view = wait_for(round_id, has_ended)
    assert view.state == "succeeded"
    assert sorted(published()) == sorted(ALL)  # every stage published exactly once
    attempts = {run.stage: run.attempt for run in view.runs}
    assert attempts["reward"] == attempts["evaluate"] == 2
    assert attempts["prepare"] == attempts["policy"] == attempts["release"] == 1
    gone, alive = psutil.wait_procs(children, timeout=10)
    assert not alive, "the orphaned child went on"
    with engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM artifacts")) == len(ALL)


def test_a_paused_worker_that_was_replaced_cannot_publish(enqueue, wait_for, published, start_worker, settings):
    first = start_worker()
    round_id = enqueue(reward={"seconds": 2.0, "behavior": "deaf"})
    view = wait_for(round_id, is_in("reward"))
    frozen = [first.pid, *(child.pid for child in psutil.Process(first.pid).children(recursive=True))]
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    start_worker()
    wait_for(round_id, lambda view: any(run.stage == "reward" and run.attempt == 2 for run in view.runs))
    for pid in reversed(frozen):
        os.kill(pid, signal.SIGCONT)
    view = wait_for(round_id, has_ended)
    assert view.state == "succeeded"
    assert published().count("reward") == 1
    assert sorted(published()) == sorted(ALL)


def test_two_workers_share_one_queue_and_no_stage_runs_twice(enqueue, wait_for, published, start_worker):
    rounds = [enqueue(prepare={"seconds": 0.3}) for _ in range(2)]
    start_worker()
    start_worker()
    for round_id in rounds:
        view = wait_for(round_id, has_ended)
        assert view.state == "succeeded"
        assert {run.attempt for run in view.runs} == {1}
    assert sorted(published()) == sorted(ALL * 2)


def test_a_worker_that_is_terminated_puts_the_round_back_at_once(enqueue, wait_for, published, start_worker):
    first = start_worker()
    round_id = enqueue(policy={"seconds": 1.5})
    wait_for(round_id, is_in("policy"))
    first.terminate()
    assert first.wait(8) == 0
    assert wait_for(round_id, lambda view: True).state == "running"
    began = time.monotonic()
    start_worker()
    view = wait_for(round_id, has_ended)
    assert time.monotonic() - began < 15
    assert view.state == "succeeded"
    assert {run.stage: run.attempt for run in view.runs}["policy"] == 2
    assert sorted(published()) == sorted(ALL)


def test_a_canceled_round_stops_politely_and_can_be_tried_again(engine, enqueue, wait_for, published, start_worker):
    start_worker()
    round_id = enqueue(reward={"seconds": 2.0})
    wait_for(round_id, is_in("reward"))
    assert cancel_round(engine, round_id) == "running"
    began = time.monotonic()
    view = wait_for(round_id, has_ended)
    assert time.monotonic() - began < 4
    assert (view.state, view.runs[-1].stage, view.runs[-1].state) == ("canceled", "reward", "canceled")
    assert published() == ["curate", "prepare"]
    retry_round(engine, round_id)
    assert wait_for(round_id, has_ended).state == "succeeded"
    assert sorted(published()) == sorted(ALL)


def test_a_stage_that_does_not_listen_is_killed_after_the_grace(engine, enqueue, wait_for, published, start_worker):
    start_worker()
    round_id = enqueue(reward={"seconds": 60.0, "behavior": "deaf"})
    wait_for(round_id, is_in("reward"))
    cancel_round(engine, round_id)
    view = wait_for(round_id, has_ended, seconds=10)
    assert view.state == "canceled"
    assert "did not stop in time" in view.runs[-1].error
    assert published() == ["curate", "prepare"]


def test_a_stage_whose_process_is_killed_is_tried_again(enqueue, wait_for, published, start_worker):
    start_worker()
    round_id = enqueue(reward={"behavior": "crash once"})
    view = wait_for(round_id, has_ended)
    assert view.state == "succeeded"
    assert {run.stage: run.attempt for run in view.runs}["reward"] == 2
    assert published().count("reward") == 1


def test_rounds_end_as_failed_or_refused_with_the_reason_and_without_quoting_data(
    enqueue, wait_for, published, start_worker, settings: Settings, engine
):
    start_worker()
    poor = enqueue(prepare={"behavior": "no data"})
    refused = enqueue(release={"behavior": "refuse"})
    broken = enqueue(evaluate={"behavior": "bug"})
    view = wait_for(poor, has_ended)
    assert (view.state, view.error) == ("failed", "There are 3 pairs; training needs 20. Collect more.")
    assert [run.stage for run in view.runs] == ["curate", "prepare"]
    view = wait_for(refused, has_ended)
    assert (view.state, view.error) == ("refused", "The win rate's lower bound is 0.41, below 0.5.")
    assert view.runs[-1].stage == CLOSING_STAGE  # monitor looks at refused rounds too
    view = wait_for(broken, has_ended)
    assert view.state == "failed"
    assert "unexpected ValueError" in view.error
    written = view.error + "".join(path.read_text() for path in settings.home.rglob("*.log"))
    assert "in run" in written  # the log shows the place
    assert "Planted" not in written


def test_a_worker_starts_in_two_seconds_and_neither_it_nor_a_light_stage_loads_torch(
    enqueue, wait_for, start_worker, settings: Settings
):
    began = time.monotonic()
    worker = start_worker()
    log: Path = settings.home / "worker-0.log"
    while "worker ready" not in log.read_text():
        assert time.monotonic() - began < 10
        time.sleep(0.02)
    assert psutil.Process(worker.pid).cpu_times().user < 2.0
    loaded = [entry.path for entry in psutil.Process(worker.pid).memory_maps() if "libtorch" in entry.path]
    assert not loaded
    view = wait_for(enqueue(), has_ended)
    assert {run.metrics["torch_loaded"] for run in view.runs} == {False}
    assert run_detail is not None
