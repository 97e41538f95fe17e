"""`preceptor experiment`: start, analyze and list online comparisons of two releases."""

from __future__ import annotations

import sqlalchemy as sa

from preceptor.commands.parsing import choose
from preceptor.commands.stages import run_stage
from preceptor.db.engine import connect, session_scope
from preceptor.db.tables.rollout import Experiment
from preceptor.settings import load_settings


def _list() -> None:
    """List the experiments, newest first."""
    engine = connect(load_settings())
    with session_scope(engine) as session:
        rows = list(session.scalars(sa.select(Experiment).order_by(Experiment.id.desc()).limit(50)))
        if not rows:
            print("No experiment was started yet.")
        for row in rows:
            sides = f"{row.treatment_release_id} against {row.control_release_id}"
            print(f"{row.experiment_id:<20} {row.agent_name:<20} {row.state:<12} {sides}")
            if row.decision.get("reason"):
                print(f"    {row.decision['reason']}")
    engine.dispose()


def _start() -> None:
    """Start comparing the candidate with the active release."""


def _analyze() -> None:
    """Look at what came in and decide."""


def main(words: list[str]) -> None:
    if words and words[0] in {"start", "analyze"}:
        run_stage("experiment", ["--action", words[0], *words[1:]])
        return
    choose(
        {
            "start": (_start, "compare the agent's candidate with its active release"),
            "analyze": (_analyze, "analyze the running experiment and decide"),
            "list": (_list, "experiments and their decisions"),
        },
        words,
        prog="experiment",
    )
