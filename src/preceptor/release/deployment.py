"""Releases and experiments in the database in; the deployment document brought in step with them out.

The database is the truth and commits first; the document is derived from it and can be rebuilt at any time.
"""

from __future__ import annotations

import json
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.orm import Session

from preceptor.artifacts.store import ArtifactStore
from preceptor.db.tables.rollout import Alias, AliasEvent, Experiment, Release
from preceptor.errors import ConflictError, NotFoundError
from preceptor.release.document import AgentDeployment, Document, Rollout, Served, is_sound, stored_document, swap

_ATTEMPTS = 5


def sync(engine: sa.Engine, path: Path, *, store: ArtifactStore, upstream_url: str | None = None) -> Document:
    """Bring the document to what the database says now; safe to call from anywhere, any number of times.

    `store` holds the policies, whose cards say how they are to be sampled.
    """
    for _ in range(_ATTEMPTS):
        current = stored_document(path)
        with Session(engine) as session:
            agents = derive(session, current, store=store, upstream_url=upstream_url)
        if agents == current.agents and is_sound(path):
            return current
        try:
            return swap(path, agents, expected_sequence=current.sequence)
        except ConflictError:
            continue
    raise ConflictError("The deployment document keeps changing; run `preceptor release sync` again.")


def derive(
    session: Session, current: Document, *, store: ArtifactStore, upstream_url: str | None = None
) -> dict[str, AgentDeployment]:
    """What each agent should serve according to the database; generations go on from `current`.

    A rollout is in the document only while its experiment runs and its control is the active release. While it does,
    a control without sampling values of its own, as the base model is, is sampled like the release it is compared with.
    """
    releases = {release.release_id: release for release in session.scalars(sa.select(Release))}
    pointers: dict[str, dict[str, Release]] = {}
    for alias in session.scalars(sa.select(Alias).where(Alias.release_id.is_not(None))):
        pointers.setdefault(alias.agent_name, {})[alias.alias] = releases[alias.release_id or ""]
    running = {
        experiment.agent_name: experiment
        for experiment in session.scalars(sa.select(Experiment).where(Experiment.state == "running"))
    }
    counted = sa.select(AliasEvent.agent_name, sa.func.count()).group_by(AliasEvent.agent_name)
    events: dict[str, int] = dict(session.execute(counted).all())
    agents: dict[str, AgentDeployment] = {}
    for name, names in sorted(pointers.items()):
        if "active" not in names:
            continue
        candidate, rollout = names.get("candidate"), None
        experiment = running.get(name)
        if experiment is not None and experiment.control_release_id == names["active"].release_id:
            candidate = releases[experiment.treatment_release_id]
            rollout = Rollout(experiment_id=experiment.experiment_id, coverage=experiment.coverage)
        stable = _served(names["active"], store, upstream_url)
        tried = _served(candidate, store, upstream_url) if candidate else None
        if rollout is not None and tried is not None and not stable.params:
            stable = stable.model_copy(update={"params": tried.params})
        old = current.agents.get(name)
        entry = AgentDeployment(
            generation=old.generation if old else 0,
            stable=stable,
            candidate=tried,
            rollout=rollout,
            kill_switch="kill_switch" in names,
        )
        if entry != old:
            entry = entry.model_copy(update={"generation": max(entry.generation + 1, events.get(name, 0))})
        agents[name] = entry
    return agents


def _served(release: Release, store: ArtifactStore, upstream_url: str | None) -> Served:
    upstream = upstream_url if release.version == 0 else None
    return Served(
        release_id=release.release_id,
        version=release.version,
        model=release.model,
        digest=release.digest,
        upstream=upstream,
        params=_trained_sampling(release, store) if release.version > 0 else {},
    )


def _trained_sampling(release: Release, store: ArtifactStore) -> dict[str, float | int]:
    """The temperature and the answer length that a policy was trained at; empty where it does not say."""
    try:
        card = json.loads((store.path(release.model) / "preceptor.json").read_text())
    except (NotFoundError, OSError, ValueError):
        return {}  # damaged or missing files are told when the weights are loaded
    trained = card.get("config") if isinstance(card, dict) else None
    if not isinstance(trained, dict):
        return {}
    named = {"temperature": trained.get("temperature"), "max_tokens": trained.get("max_new_tokens")}
    return {name: value for name, value in named.items() if isinstance(value, int | float) and value > 0}
