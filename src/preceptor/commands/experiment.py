"""`preceptor experiment`: start, analyze, resume, widen, end and list online comparisons of two releases."""

from __future__ import annotations

import getpass
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated

import sqlalchemy as sa
from sqlalchemy.orm import Session
from tyro.conf import Positional, arg

from preceptor.commands.parsing import choose
from preceptor.commands.stages import run_stage
from preceptor.db import audit
from preceptor.db.engine import connect, session_scope
from preceptor.db.tables.rollout import Experiment
from preceptor.errors import ConflictError
from preceptor.experiment import store
from preceptor.release.switch import synchronize
from preceptor.settings import load_settings

Reason = Annotated[str, arg(help="Why; kept in the audit trail.")]


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


def resume(
    experiment_id: Positional[str],
    /,
    reason: Reason = "resumed from the command line",
) -> None:
    """Let a paused experiment run on; everybody keeps their arm."""
    _change(experiment_id, "experiment.resume", reason, store.resume)
    print(f"{experiment_id} runs again.")


def coverage(
    experiment_id: Positional[str],
    share: Positional[float],
    /,
    reason: Reason = "raised from the command line",
) -> None:
    """Let more clinicians take part: a share from the present one to 1."""
    _change(
        experiment_id, "experiment.coverage", reason, lambda session, found: store.raise_coverage(session, found, share)
    )
    print(f"{experiment_id} now covers {share:.0%} of the clinicians.")


def end(
    experiment_id: Positional[str],
    /,
    reason: Reason = "ended from the command line",
) -> None:
    """End an open experiment without a winner: everybody gets the active release."""

    def close(session: Session, found: Experiment) -> None:
        if found.state not in store.OPEN_STATES:
            raise ConflictError(f"Experiment '{experiment_id}' is {found.state} already.")
        store.end(session, found, state="inconclusive", at=datetime.now(UTC))

    _change(experiment_id, "experiment.end", reason, close)
    print(f"{experiment_id} is ended; the active release serves everybody.")


def _change(experiment_id: str, action: str, reason: str, change: Callable[[Session, Experiment], None]) -> None:
    """Change an experiment, note it in the audit trail, and bring what is served in step."""
    settings = load_settings()
    engine = connect(settings)
    with session_scope(engine) as session:
        found = store.find_experiment(session, experiment_id)
        session.refresh(found, with_for_update=True)
        change(session, found)
        audit.record(session, actor_id=None, action=action, target=experiment_id, by=getpass.getuser(), reason=reason)
    synchronize(engine, settings)
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
            "resume": (resume, "EXPERIMENT: let a paused one run on"),
            "coverage": (coverage, "EXPERIMENT SHARE: let more clinicians take part"),
            "end": (end, "EXPERIMENT: end it without a winner"),
            "list": (_list, "experiments and their decisions"),
        },
        words,
        prog="experiment",
    )
