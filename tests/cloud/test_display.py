"""A person sees where a job stands: a live line on a terminal, only the changes in a log."""

from __future__ import annotations

import io
from dataclasses import replace

from rich.console import Console

from preceptor.cloud.display import byte_bar, job_bar
from preceptor.cloud.runner import JobStatus

STATUS = JobStatus("job-1", "reward", "queued", "InProgress, Starting", 0.0, {}, "d1", limit=100.0)


def test_a_log_gets_the_changes_and_not_the_looks() -> None:
    out = io.StringIO()
    with job_bar("job-1", console=Console(file=out)) as report:
        for status in (STATUS, STATUS, replace(STATUS, state="running", detail="InProgress, Training", seconds=42.0)):
            report(status)
    assert out.getvalue().splitlines() == [
        "job-1  queued (InProgress, Starting)  0 s",
        "job-1  running (InProgress, Training)  42 s",
    ]


def test_a_terminal_shows_status_secondary_status_and_seconds() -> None:
    out = io.StringIO()
    with job_bar("job-1", console=Console(file=out, force_terminal=True, width=120)) as report:
        report(replace(STATUS, state="running", detail="InProgress, Training", seconds=42.0))
    assert "running (InProgress, Training)" in out.getvalue()
    assert "42 s of work" in out.getvalue()


def test_a_transfer_is_quiet_in_a_log() -> None:
    out = io.StringIO()
    with byte_bar("sending", console=Console(file=out)) as report:
        report(5, 10)
    assert out.getvalue() == ""
