"""The demo's display: what it says of the time left, before and after a step has outlasted its plan."""

from __future__ import annotations

import io

from rich.console import Console

from preceptor.demo.display import Display


def test_a_step_that_outlasts_its_plan_is_said_to_and_never_stands_at_one_time_left() -> None:
    now = [0.0]
    shown = io.StringIO()
    display = Display(Console(file=shown), {"round": 100, "monitor": 50}, clock=lambda: now[0])
    with display.running():
        with display.step("round") as progress:
            for now[0] in (30.0, 90.0, 130.0, 160.0):
                progress(1, 2, {})
        with display.step("monitor") as progress:
            for now[0] in (190.0, 300.0):  # the round took 1.6 times its plan, so half of that is believed: 65 s
                progress(1, 2, {})
    assert [line.split("1/2")[1].strip() for line in shown.getvalue().splitlines()] == [
        "about 2:00 left",
        "about 1:00 left",
        "longer than planned, then about 0:50",
        "longer than planned, then about 0:50",
        "about 0:35 left",
        "longer than planned",
    ]
