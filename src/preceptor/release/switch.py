"""A person's decision in; the registry committed, then the deployment document moved, out.

In that order: a crash in between leaves the old document in force, and the next `sync` (the gateway
runs one every few seconds) brings it up to date.
"""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from preceptor.artifacts.store import ArtifactStore
from preceptor.db.engine import session_scope
from preceptor.db.tables.rollout import AliasEvent, Release
from preceptor.errors import NotFoundError
from preceptor.modeling.digest import model_digest
from preceptor.release import registry
from preceptor.release.deployment import sync
from preceptor.release.document import Document
from preceptor.release.registry import Origin
from preceptor.settings import Settings


@dataclass(frozen=True)
class ReleaseRow:
    """One line of `preceptor release list`."""

    agent_name: str
    version: int
    release_id: str
    state: str
    model: str
    digest: str
    aliases: tuple[str, ...]
    reason: str | None


def register_base(engine: sa.Engine, settings: Settings, agent_name: str) -> Release:
    """Give an agent its version 0, the configured base model, and serve it; does nothing the second time."""
    store = ArtifactStore(settings.artifacts_dir)
    digest = model_digest(
        settings.policy_model, store=store, models_dir=settings.models_dir, upstream_url=settings.upstream_url
    )
    with session_scope(engine) as session:
        release = registry.ensure_base(session, agent_name, model=settings.policy_model, digest=digest)
    synchronize(engine, settings)
    return release


def promote(
    engine: sa.Engine, settings: Settings, agent_name: str, *, origin: Origin, release: str | None = None
) -> Release:
    """Serve a release (id or version number; the candidate when none is named) from the next request on.

    Raises:
        NotFoundError: there is no such release, or no candidate.
        GateRefused: the release did not pass its gates.
        StorageError: its files are damaged.
    """
    with session_scope(engine) as session:
        chosen = release or registry.aliases(session, agent_name).get("candidate")
        if chosen is None:
            raise NotFoundError(
                f"Agent '{agent_name}' has no candidate. `preceptor release list` shows its releases; name one."
            )
        found = registry.find(session, agent_name, chosen)
        if found.version > 0:
            ArtifactStore(settings.artifacts_dir).open(found.model, verify=True)
        promoted = registry.promote(session, agent_name, found.release_id, origin)
    synchronize(engine, settings)
    return promoted


def rollback(engine: sa.Engine, settings: Settings, agent_name: str, *, origin: Origin) -> Release:
    """Serve the release before the active one from the next request on."""
    with session_scope(engine) as session:
        release = registry.rollback(session, agent_name, origin)
    synchronize(engine, settings)
    return release


def switch_kill(engine: sa.Engine, settings: Settings, agent_name: str, *, origin: Origin, on: bool) -> None:
    """Give every clinician the active release whatever an experiment says, or stop doing so."""
    with session_scope(engine) as session:
        registry.switch_kill(session, agent_name, origin, on=on)
    synchronize(engine, settings)


def synchronize(engine: sa.Engine, settings: Settings) -> Document:
    """Rebuild the deployment document from the database: after an experiment starts or ends, or a crash."""
    store = ArtifactStore(settings.artifacts_dir)
    return sync(engine, settings.deployments_file, store=store, upstream_url=settings.upstream_url)


def list_releases(engine: sa.Engine, agent_name: str | None = None) -> list[ReleaseRow]:
    """Every release with the aliases that point at it, by agent, oldest first."""
    with session_scope(engine) as session:
        rows = registry.releases(session, agent_name)
        pointing = {name: registry.aliases(session, name) for name in {row.agent_name for row in rows}}
        return [
            ReleaseRow(
                row.agent_name,
                row.version,
                row.release_id,
                row.state,
                row.model,
                row.digest,
                tuple(sorted(a for a, target in pointing[row.agent_name].items() if target == row.release_id)),
                row.reason,
            )
            for row in rows
        ]


def read_history(engine: sa.Engine, agent_name: str | None = None) -> tuple[list[AliasEvent], str | None]:
    """The moves of the aliases, oldest first, and what is wrong with the chain (None when it is whole)."""
    with session_scope(engine) as session:
        return registry.history(session, agent_name), registry.verify_history(session)
