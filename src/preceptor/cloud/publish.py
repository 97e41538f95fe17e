"""The archive of a finished job in, a published artifact with its lineage out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from preceptor.artifacts.store import MANIFEST, Artifact, ArtifactStore
from preceptor.cloud.extract import extract
from preceptor.cloud.inputs import KINDS
from preceptor.cloud.runner import JobStatus
from preceptor.db.engine import connect, session_scope
from preceptor.db.tables.lineage import ArtifactRow
from preceptor.errors import StorageError
from preceptor.files.atomic import file_digest
from preceptor.runs import Outcome, create_run, end_run, start_attempt
from preceptor.settings import Settings
from preceptor.stage import StageResult


def publish(archive: Path, status: JobStatus, settings: Settings, *, backend: str, max_bytes: int) -> Artifact:
    """Unpack with care, check every hash, publish, and record it as a run of the stage; twice changes nothing.

    Raises:
        StorageError: the archive is not what the stage makes, or is damaged; nothing was published.
    """
    store = ArtifactStore(settings.artifacts_dir)
    kind = KINDS[status.stage]
    origin = {"backend": backend, "job": status.name, "request": status.request}
    with store.building(kind) as build:
        names = set(extract(archive, build.path, max_bytes=max_bytes))
        manifest = _manifest(build.path, names, kind)
        strange = sorted(set(manifest["parents"]) - set(status.flags.values()))
        if strange:
            raise StorageError(f"The archive says that it was made from {strange[0]}, which the job was not given.")
        build.metadata |= {**manifest["metadata"], "cloud": origin}
        build.parents += manifest["parents"]
        (build.path / MANIFEST).unlink()
    artifact = build.artifact
    _record(artifact, status, settings, store, origin)
    return artifact


def _manifest(folder: Path, names: set[str], kind: str) -> dict[str, Any]:
    """The manifest that came along, which must name exactly these files with these hashes."""
    if MANIFEST not in names:
        raise StorageError(f"The archive holds no {MANIFEST}: it was not made by preceptor.")
    found = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    try:
        files, metadata, parents = (
            dict(found["files"]),
            dict(found["metadata"]),
            [str(name) for name in found["parents"]],
        )
    except (KeyError, TypeError, ValueError):
        raise StorageError(f"The {MANIFEST} of the archive is not one of preceptor's.") from None
    if found.get("kind") != kind:
        raise StorageError(f"The archive holds a {found.get('kind')!r}; a {kind} was expected.")
    if set(files) != names - {MANIFEST}:
        raise StorageError("The archive does not hold the files that its manifest names.")
    changed = sorted(name for name, digest in files.items() if file_digest(folder / name) != digest)
    if changed:
        raise StorageError(f"{changed[0]} is not what the manifest of the archive says; fetch it again.")
    return {"metadata": metadata, "parents": parents}


def _record(
    artifact: Artifact, status: JobStatus, settings: Settings, store: ArtifactStore, origin: dict[str, str]
) -> None:
    engine = connect(settings)
    try:
        with session_scope(engine) as session:
            if session.get(ArtifactRow, artifact.id) is not None:
                return
            run_id = create_run(session, status.stage, {**status.flags, "cloud": origin})
        attempt = start_attempt(engine, run_id)
        result = StageResult(
            f"{artifact.id} was made by the job {status.name} on {origin['backend']}.",
            artifact.id,
            {"cloud_seconds": status.seconds, **origin},
        )
        with session_scope(engine) as session:
            end_run(session, run_id, attempt, Outcome("succeeded", result), store=store)
    finally:
        engine.dispose()
