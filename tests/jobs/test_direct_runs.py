"""`preceptor STAGE`: a run in this process, with a row like any other."""

from __future__ import annotations

import importlib

import pytest
import sqlalchemy as sa

from preceptor.db.engine import session_scope
from preceptor.db.tables.lineage import ArtifactRow
from preceptor.errors import DataError, GateRefused
from preceptor.jobs.control import cancel_run, list_runs, run_detail, tail_log
from preceptor.jobs.queue import reap
from preceptor.pipeline import config_class
from preceptor.runs import create_run, run_stage_now, start_attempt


def configured(package: str, stage: str, **values):
    return config_class(stage, package=package)(**values)


def test_a_stage_run_here_reports_progress_and_records_what_it_made(engine, settings, package):
    seen = []
    config = configured(package, "reward", dataset="dataset-1", base_model="m", seconds=0.1)
    result = run_stage_now(
        settings, "reward", config, progress=lambda *report: seen.append(report[:2]), package=package
    )
    assert seen == [(1, 3), (2, 3), (3, 3)]
    (run,) = list_runs(engine)
    assert (run.stage, run.state, run.artifact_id, run.round_id) == ("reward", "succeeded", result.artifact_id, None)
    assert (run.metrics["steps"], run.summary, run.config["dataset"]) == (3, "reward is done", "dataset-1")
    assert (run.done, run.total) == (3, 3)
    with engine.connect() as connection:
        assert connection.execute(sa.select(ArtifactRow.artifact_id, ArtifactRow.run_id)).one() == (
            result.artifact_id,
            run.run_id,
        )


@pytest.mark.parametrize(
    ("behavior", "error", "state"), [("no data", DataError, "failed"), ("refuse", GateRefused, "refused")]
)
def test_a_stage_error_reaches_the_caller_and_the_row(engine, settings, package, behavior, error, state):
    with pytest.raises(error) as raised:
        run_stage_now(settings, "curate", configured(package, "curate", behavior=behavior), package=package)
    (run,) = list_runs(engine)
    assert (run.state, run.error, run.artifact_id) == (state, raised.value.message, None)
    assert run.ended_at is not None


def test_ctrl_c_is_recorded_as_canceled(engine, settings, package, monkeypatch):
    def interrupted(config, context):
        raise KeyboardInterrupt

    monkeypatch.setattr(importlib.import_module(f"{package}.curate.run"), "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_stage_now(settings, "curate", configured(package, "curate"), package=package)
    assert [(run.state, run.error) for run in list_runs(engine)] == [("canceled", "Interrupted from the keyboard.")]


def test_a_run_whose_process_vanished_is_recorded_as_failed(engine):
    with session_scope(engine) as session:
        run_id, fresh = create_run(session, "policy", {}), create_run(session, "curate", {})
    start_attempt(engine, run_id)
    start_attempt(engine, fresh)
    with engine.begin() as connection:
        connection.execute(
            sa.text("UPDATE runs SET heartbeat_at = now() - interval '1 hour' WHERE run_id = :id"), {"id": run_id}
        )
    reap(engine, stalled=10)
    assert (run_detail(engine, run_id).state, run_detail(engine, fresh).state) == ("failed", "running")
    assert "without a word" in run_detail(engine, run_id).error
    assert cancel_run(engine, run_id) == "failed"  # nothing left to cancel


def test_the_end_of_a_log_is_read_and_no_other_file(settings):
    settings.logs_dir.mkdir(parents=True)
    (settings.logs_dir / "run-0123456789ab.log").write_text("\n".join(f"line {n}" for n in range(300)))
    assert tail_log(settings, "run-0123456789ab", lines=2) == "line 298\nline 299"
    assert tail_log(settings, "run-ffffffffffff") == ""
    with pytest.raises(Exception, match="not a run id"):
        tail_log(settings, "../../etc/passwd")
