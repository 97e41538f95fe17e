"""Progress: what is written, how often, and what a person reads."""

from __future__ import annotations

import io

import numpy as np
import pytest
import sqlalchemy as sa
from rich.console import Console

from preceptor.db.engine import session_scope
from preceptor.db.tables.lineage import Run
from preceptor.runs import create_run, start_attempt
from preceptor.supervision import jsonable, progress_writer, time_left_estimator
from preceptor.terminal import describe_metrics, describe_time, terminal_progress


def test_time_left_follows_the_rate_and_starts_anew_with_another_total():
    now = [0.0]
    left = time_left_estimator(lambda: now[0])
    assert left(0, 10) is None
    now[0] = 4.0
    assert left(2, 10) == 16.0
    assert left(10, 10) == 0.0
    assert left(3, 50) is None  # another stretch of work
    now[0] = 5.0
    assert left(4, 50) == 46.0


def test_a_resumed_run_does_not_count_what_was_done_before():
    now = [0.0]
    left = time_left_estimator(lambda: now[0])
    left(80, 100)
    now[0] = 10.0
    assert left(90, 100) == 10.0


def test_progress_is_written_once_a_second_and_always_at_the_end(engine: sa.Engine):
    with session_scope(engine) as session:
        run_id = create_run(session, "policy", {})
    attempt = start_attempt(engine, run_id)
    now = [100.0]
    report = progress_writer(engine, run_id, attempt, clock=lambda: now[0])

    def stored():
        with engine.connect() as connection:
            return connection.scalar(sa.select(Run.progress).where(Run.run_id == run_id))

    report(1, 10, {"objective/kl": np.float32(0.5), "loss": float("nan")})
    assert stored() == {"done": 1, "total": 10, "metrics": {"objective/kl": 0.5, "loss": None}, "eta_s": None}
    now[0] += 0.5
    report(2, 10, {})
    assert stored()["done"] == 1
    now[0] += 0.6
    report(3, 10, {})
    assert (stored()["done"], stored()["eta_s"]) == (3, pytest.approx(3.85, abs=0.06))
    report(10, 10, {})
    assert (stored()["done"], stored()["eta_s"]) == (10, 0.0)


def test_numbers_of_array_libraries_become_plain_json():
    assert jsonable({1: np.int64(3), "x": [np.float64("inf"), (True, None)]}) == {"1": 3, "x": [None, [True, None]]}


def test_a_person_reads_names_numbers_and_time():
    metrics = {"objective/kl": 1.234567, "lr": 0.1, "objective/scores": 0.5, "note": "text", "eps": 1}
    assert describe_metrics(metrics) == "score 0.5  KL 1.235  lr 0.1"
    assert [describe_time(value) for value in (None, 65.2, 3725)] == ["", "1:05 left", "1:02:05 left"]


@pytest.mark.parametrize("terminal", [True, False])
def test_a_terminal_gets_a_bar_and_a_file_gets_lines(terminal: bool):
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=120)
    with terminal_progress("policy", console=console) as report:
        for step in range(5):
            report(step + 1, 5, {"objective/kl": 0.25})
    text = out.getvalue()
    assert "policy" in text
    assert "5/5" in text
    assert "KL 0.25" in text
    assert ("\x1b[" in text) is terminal
    assert terminal or text.count("\n") == 2  # the first and the last
