"""`preceptor release`: gate a policy, promote, roll back, list, show the history, rebuild the deployment document."""

from __future__ import annotations

import getpass
from typing import Annotated

from tyro.conf import Positional, arg

from preceptor.commands.parsing import choose
from preceptor.db.engine import connect
from preceptor.release import switch
from preceptor.release.registry import Origin
from preceptor.settings import load_settings

Agent = Annotated[str, arg(help="The agent whose release is meant.")]
Reason = Annotated[str, arg(help="Why; kept for ever in the history.")]
DEFAULT_AGENT = "clinical_agent"


def _origin(reason: str, evidence: str | None = None) -> Origin:
    return Origin(actor=getpass.getuser(), reason=reason, evidence=evidence)


def promote(
    release: Positional[str | None] = None,
    /,
    agent_name: Agent = DEFAULT_AGENT,
    reason: Reason = "promoted from the command line",
    evidence: Annotated[str | None, arg(help="Report or experiment that supports this.")] = None,
) -> None:
    """Serve a release from the next request on.

    Args:
        release: Release id or version number; the candidate when absent.
    """
    settings = load_settings()
    engine = connect(settings)
    chosen = switch.promote(engine, settings, agent_name, origin=_origin(reason, evidence), release=release)
    engine.dispose()
    print(f"{agent_name} now serves version {chosen.version} ({chosen.release_id}).")


def rollback(agent_name: Agent = DEFAULT_AGENT, reason: Reason = "rolled back from the command line") -> None:
    """Serve the release before the active one from the next request on."""
    settings = load_settings()
    engine = connect(settings)
    chosen = switch.rollback(engine, settings, agent_name, origin=_origin(reason))
    engine.dispose()
    print(f"{agent_name} is back on version {chosen.version} ({chosen.release_id}).")


def list_releases(agent_name: Annotated[str | None, arg(help="Only this agent.")] = None) -> None:
    """List the releases and the aliases that point at them."""
    engine = connect(load_settings())
    rows = switch.list_releases(engine, agent_name)
    engine.dispose()
    if not rows:
        print(f"Nothing is released yet{f' for {agent_name}' if agent_name else ''}; the base model answers.")
    for row in rows:
        aliases = f"  <- {', '.join(row.aliases)}" if row.aliases else ""
        reason = f"  ({row.reason})" if row.reason else ""
        print(f"{row.agent_name:<20} v{row.version:<4}{row.state:<10}{row.model:<28}{aliases}{reason}")


def history(agent_name: Annotated[str | None, arg(help="Only this agent.")] = None) -> None:
    """Show every move of an alias, and whether the chain of hashes is whole."""
    engine = connect(load_settings())
    events, broken = switch.read_history(engine, agent_name)
    engine.dispose()
    for event in events:
        moved = f"{event.before or '-'} -> {event.after or '-'}"
        print(f"{event.at:%Y-%m-%d %H:%M}  {event.agent_name}  {event.alias:<12}{moved}  {event.actor}: {event.reason}")
    print(f"The history is damaged: {broken}" if broken else f"{len(events)} events; the chain is whole.")


def sync() -> None:
    """Rebuild the deployment document from the database."""
    settings = load_settings()
    engine = connect(settings)
    switch.synchronize(engine, settings)
    engine.dispose()
    print(f"{settings.deployments_file} says what the database says.")


def kill(agent_name: Agent = DEFAULT_AGENT, off: bool = False, reason: Reason = "from the command line") -> None:
    """Give everybody the active release whatever an experiment says; --off lets experiments go on."""
    settings = load_settings()
    engine = connect(settings)
    switch.switch_kill(engine, settings, agent_name, origin=_origin(reason), on=not off)
    engine.dispose()
    print(f"The kill switch of {agent_name} is {'off' if off else 'on'}.")


def _gate(words: list[str]) -> None:
    from preceptor.commands.stages import run_stage

    run_stage("release", words, prog="release gate")


def main(words: list[str]) -> None:
    if words and words[0] == "gate":
        _gate(words[1:])
        return
    choose(
        {
            "gate": (_gate, "apply the gates to an evaluated policy and number it"),
            "promote": (promote, "serve a release from the next request on"),
            "rollback": (rollback, "serve the release before the active one"),
            "list": (list_releases, "releases and what points at them"),
            "history": (history, "every move of an alias, with its reason"),
            "sync": (sync, "rebuild the deployment document from the database"),
            "kill": (kill, "the kill switch: everybody gets the active release"),
        },
        words,
        prog="release",
    )
