"""The results of the demo's steps in, one table for the terminal out: nine stages, what each made."""

from __future__ import annotations

from typing import Any

from rich.table import Table


def stage_rows(results: dict[str, dict[str, Any]]) -> list[tuple[str, str, str]]:
    """One row a stage: its name, the seconds it took, and one sentence."""
    stages = results["round"]["stages"]
    counts = results["collect"]["counts"]
    collected = ", ".join(f"{count} {name}" for name, count in counts.items())
    rows = [("collect", _seconds(results["collect"]["seconds"]), f"{collected} of sixteen simulated clinicians")]
    rows += [
        (name, _seconds(stages[name]["seconds"]), str(stages[name]["summary"]))
        for name in ("curate", "prepare", "reward", "policy", "evaluate", "release")
        if name in stages
    ]
    rows.append(("experiment", _seconds(results["experiment"]["seconds"]), results["experiment"]["said"]))
    rows.append(("monitor", _seconds(results["monitor"]["seconds"]), results["monitor"]["said"]))
    return rows


def _seconds(value: float | None) -> str:
    return f"{value:.0f} s" if value is not None else "–"


def summary_table(results: dict[str, dict[str, Any]]) -> Table:
    """The nine stages, and the held-out verdict under them."""
    table = Table(title="One round", title_justify="left", show_lines=False, pad_edge=False)
    table.add_column("stage", style="bold")
    table.add_column("time", justify="right")
    table.add_column("result", overflow="fold")
    for name, seconds, text in stage_rows(results):
        table.add_row(name, seconds, text)
    table.add_section()
    table.add_row("held out", _seconds(results["held out"]["seconds"]), results["held out"]["said"])
    return table
