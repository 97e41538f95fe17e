"""Evaluated policies in; immutable numbered releases, aliases that move, and their hash-chained history out.

Every change takes one lock, so versions, aliases and the chain of events stay in step; doors commit.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import sqlalchemy as sa
from sqlalchemy.orm import Session

from preceptor.db.tables.rollout import Alias, AliasEvent, Release
from preceptor.errors import ConflictError, GateRefused, InputError, NotFoundError

AliasName = Literal["active", "candidate", "previous", "kill_switch"]
FIRST_HASH = "0" * 64
_LOCK = 0x72656C73


@dataclass(frozen=True)
class Origin:
    """Who moves an alias, why, and on which evidence (a report or an experiment id)."""

    actor: str
    reason: str
    evidence: str | None = None


def ensure_base(session: Session, agent_name: str, *, model: str, digest: str) -> Release:
    """Version 0 of an agent, its base model; registered and made active the first time."""
    _lock(session)
    found = session.scalar(sa.select(Release).where(Release.agent_name == agent_name, Release.version == 0))
    if found is not None:
        return found
    release = _add(session, agent_name, version=0, model=model, digest=digest, state="active")
    if aliases(session, agent_name).get("active") is None:
        _move(session, agent_name, "active", release.release_id, Origin("preceptor", "the base model, on first use"))
    return release


def register(
    session: Session,
    agent_name: str,
    *,
    model: str,
    digest: str,
    report: str,
    run_id: str | None,
    refusal: str | None,
    actor: str = "preceptor",
) -> Release:
    """Number an evaluated policy as candidate, or as refused with its reason.

    The same weights keep their number: a new report on them only renews the verdict, and never that of a
    release that was active.
    """
    _lock(session)
    state = "refused" if refusal else "candidate"
    release = session.scalar(sa.select(Release).where(Release.agent_name == agent_name, Release.digest == digest))
    if release is None:
        newest = session.scalar(sa.select(sa.func.max(Release.version)).where(Release.agent_name == agent_name))
        version = 1 if newest is None else newest + 1
        release = _add(session, agent_name, version=version, model=model, digest=digest, state=state)
    elif release.state in {"active", "retired"}:
        return release
    release.state, release.reason = state, refusal
    release.report_artifact_id, release.run_id = report, run_id
    pointed = aliases(session, agent_name).get("candidate")
    if refusal is None and pointed != release.release_id:
        _move(session, agent_name, "candidate", release.release_id, Origin(actor, "passed every gate", report))
    elif refusal is not None and pointed == release.release_id:
        _move(session, agent_name, "candidate", None, Origin(actor, refusal, report))
    session.flush()
    return release


def promote(session: Session, agent_name: str, release_id: str, origin: Origin) -> Release:
    """Make a release the active one; promoting what is active already changes nothing.

    Raises:
        NotFoundError: the agent has no such release.
        GateRefused: the release did not pass its gates.
    """
    _lock(session)
    release = find(session, agent_name, release_id)
    if release.state == "refused":
        raise GateRefused(f"Release {release_id} was refused and cannot be promoted: {release.reason}.")
    now = aliases(session, agent_name)
    before = now.get("active")
    if before == release_id:
        return release
    _move(session, agent_name, "active", release_id, origin)
    _move(session, agent_name, "previous", before, origin)
    if now.get("candidate") == release_id:
        _move(session, agent_name, "candidate", None, origin)
    if before is not None:
        find(session, agent_name, before).state = "retired"
    release.state = "active"
    session.flush()
    return release


def rollback(session: Session, agent_name: str, origin: Origin) -> Release:
    """Point `active` at the release before; no file moves.

    Raises:
        ConflictError: there is no earlier release to go back to.
    """
    _lock(session)
    now = aliases(session, agent_name)
    target, before = now.get("previous"), now.get("active")
    if target is None:
        raise ConflictError(
            f"Agent '{agent_name}' has no previous release to go back to. Promote one of its releases by name instead."
        )
    _move(session, agent_name, "active", target, origin)
    _move(session, agent_name, "previous", None, origin)
    if before is not None:
        find(session, agent_name, before).state = "retired"
    release = find(session, agent_name, target)
    release.state = "active"
    session.flush()
    return release


def switch_kill(session: Session, agent_name: str, origin: Origin, *, on: bool) -> None:
    """Turn the kill switch: while it is on every clinician gets the active release, whatever an experiment says."""
    _lock(session)
    now = aliases(session, agent_name)
    if now.get("active") is None:
        raise NotFoundError(f"There is no agent '{agent_name}' with an active release.")
    if (now.get("kill_switch") is not None) != on:
        _move(session, agent_name, "kill_switch", now["active"] if on else None, origin)


def aliases(session: Session, agent_name: str) -> dict[str, str | None]:
    """Where each alias of an agent points now."""
    rows = session.execute(sa.select(Alias.alias, Alias.release_id).where(Alias.agent_name == agent_name))
    return dict(rows.all())


def find(session: Session, agent_name: str, release_id: str) -> Release:
    """One release of an agent; `release_id` may also be its version number."""
    named = Release.version == int(release_id) if release_id.isdecimal() else Release.release_id == release_id
    found = session.scalar(sa.select(Release).where(Release.agent_name == agent_name, named))
    if found is None:
        raise NotFoundError(f"Agent '{agent_name}' has no release '{release_id}'. `preceptor release list` shows them.")
    return found


def releases(session: Session, agent_name: str | None = None) -> list[Release]:
    """All releases, or one agent's, oldest first."""
    statement = sa.select(Release).order_by(Release.agent_name, Release.version)
    if agent_name is not None:
        statement = statement.where(Release.agent_name == agent_name)
    return list(session.scalars(statement))


def history(session: Session, agent_name: str | None = None) -> list[AliasEvent]:
    """Every move of an alias, oldest first."""
    statement = sa.select(AliasEvent).order_by(AliasEvent.id)
    if agent_name is not None:
        statement = statement.where(AliasEvent.agent_name == agent_name)
    return list(session.scalars(statement))


def verify_history(session: Session) -> str | None:
    """None when the chain of events is whole and ends where the aliases point, else what is wrong."""
    previous = FIRST_HASH
    ends: dict[tuple[str, str], tuple[str | None, int]] = {}
    for event in history(session):
        if event.previous_hash != previous:
            return f"event {event.id} does not follow the one before it: an event was removed or reordered"
        if event.hash != _event_hash(event):
            return f"event {event.id} was changed after it was written"
        previous = event.hash
        ends[event.agent_name, event.alias] = (event.after, event.generation)
    for alias in session.scalars(sa.select(Alias)):
        if ends.get((alias.agent_name, alias.alias)) != (alias.release_id, alias.generation):
            return f"alias {alias.alias} of {alias.agent_name} does not point where its last event says"
    return None


def _lock(session: Session) -> None:
    session.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))


def _add(session: Session, agent_name: str, *, version: int, model: str, digest: str, state: str) -> Release:
    if not agent_name.replace("_", "").replace("-", "").isalnum():
        raise InputError("An agent name has letters, digits, - and _ only, such as prescription_agent.")
    release = Release(
        release_id=f"release_{secrets.token_hex(8)}",
        agent_name=agent_name,
        version=version,
        model=model,
        digest=digest,
        state=state,
    )
    session.add(release)
    session.flush()
    return release


def _move(session: Session, agent_name: str, alias: AliasName, after: str | None, origin: Origin) -> None:
    row = session.get(Alias, (agent_name, alias))
    if row is None:
        row = Alias(agent_name=agent_name, alias=alias, release_id=None, generation=0)
        session.add(row)
    last = session.scalar(sa.select(AliasEvent.hash).order_by(AliasEvent.id.desc()).limit(1))
    event = AliasEvent(
        agent_name=agent_name,
        alias=alias,
        before=row.release_id,
        after=after,
        generation=row.generation + 1,
        actor=origin.actor,
        reason=origin.reason,
        evidence=origin.evidence,
        at=datetime.now(UTC),
        previous_hash=last or FIRST_HASH,
    )
    event.hash = _event_hash(event)
    session.add(event)
    row.release_id, row.generation = after, event.generation
    session.flush()


def _event_hash(event: AliasEvent) -> str:
    fields = [
        event.previous_hash,
        event.agent_name,
        event.alias,
        event.before,
        event.after,
        event.generation,
        event.actor,
        event.reason,
        event.evidence,
        event.at.astimezone(UTC).isoformat(),
    ]
    return hashlib.sha256(json.dumps(fields).encode()).hexdigest()
