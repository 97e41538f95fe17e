"""`preceptor round`: start, list, show, follow, cancel and retry rounds; how far the next one is."""

from __future__ import annotations

from typing import Annotated

from tyro.conf import Positional, arg

from preceptor.commands.parsing import choose
from preceptor.db.engine import connect, session_scope
from preceptor.jobs import control
from preceptor.jobs.triggers import enqueue_round, retrain_status
from preceptor.pipeline import RoundConfig
from preceptor.settings import load_settings
from preceptor.terminal import describe_time, terminal_progress


def start(
    agent_name: Annotated[str | None, arg(help="Learn from this agent's judgements only.")] = None,
    include_simulated: Annotated[bool, arg(help="Also learn from simulated clinicians.")] = False,
    key: Annotated[str | None, arg(help="Start at most one round with this key.")] = None,
) -> None:
    """Queue a round; a worker runs it."""
    settings = load_settings()
    engine = connect(settings)
    config = RoundConfig(agent_name=agent_name, include_simulated=include_simulated)
    with session_scope(engine) as session:
        round_id, is_new = enqueue_round(session, config, settings=settings, trigger_key=key)
    engine.dispose()
    print(f"{round_id} {'is queued' if is_new else 'was started with this key before'}.")


def list_all() -> None:
    """List the newest rounds."""
    engine = connect(load_settings())
    for view in control.list_rounds(engine):
        where = f" in {view.stage}" if view.stage and not view.has_ended else ""
        agent = view.agent_name or "all agents"
        print(f"{view.round_id:<20} {view.created_at:%Y-%m-%d %H:%M}  {agent:<20} {view.state}{where}")
    engine.dispose()


def show(round_id: Positional[str], /) -> None:
    """Show a round with its runs."""
    engine = connect(load_settings())
    view = control.round_detail(engine, round_id)
    print(f"{view.round_id}: {view.state}{': ' + view.error if view.error else ''}")
    for run in view.runs:
        left = f"  {run.done}/{run.total} {describe_time(run.eta_s)}" if run.state == "running" else ""
        print(f"  {run.stage:<10} {run.state:<10} {run.summary or run.error or ''}{left}")
    engine.dispose()


def follow(round_id: Positional[str], /) -> None:
    """Watch a round until it ends."""
    engine = connect(load_settings())
    with terminal_progress(round_id) as progress:
        for view in control.follow_round(engine, round_id):
            running = next((run for run in view.runs if run.state == "running"), None)
            if running is not None:
                progress(running.done, running.total, running.progress)
    engine.dispose()
    show(round_id)


def cancel(round_id: Positional[str], /) -> None:
    """Ask a round to stop."""
    engine = connect(load_settings())
    print(f"{round_id} is {control.cancel_round(engine, round_id)}; it stops at its next safe point.")
    engine.dispose()


def retry(round_id: Positional[str], /) -> None:
    """Queue a failed or canceled round again; what succeeded is kept."""
    engine = connect(load_settings())
    control.retry_round(engine, round_id)
    print(f"{round_id} is queued again.")
    engine.dispose()


def log(run_id: Positional[str], /, lines: int = 200) -> None:
    """Print the end of a run's log."""
    print(control.tail_log(load_settings(), run_id, lines=lines))


def status() -> None:
    """How many eligible judgements there are until the next round, by agent."""
    settings = load_settings()
    engine = connect(settings)
    rows = retrain_status(engine, settings)
    engine.dispose()
    if not rows:
        print(f"No eligible judgement yet; a round starts at {settings.retrain_threshold}.")
    for row in rows:
        held = f"  held: {row.held}" if row.held else ""
        print(f"{row.agent_name or 'unnamed agent':<20} {row.new:>6} of {row.threshold} new, {row.raters} raters{held}")


def main(words: list[str]) -> None:
    choose(
        {
            "start": (start, "queue a round"),
            "list": (list_all, "the newest rounds"),
            "show": (show, "a round with its runs"),
            "follow": (follow, "watch a round until it ends"),
            "cancel": (cancel, "ask a round to stop"),
            "retry": (retry, "queue a failed round again"),
            "log": (log, "the end of a run's log"),
            "status": (status, "how far the next round is"),
        },
        words,
        prog="round",
    )
