"""Files in, an immutable folder named by its content out; a torn artifact cannot be read.

Files are written to a temporary folder, synced, hashed into `manifest.json` (written last), and published by one
rename. The id is the kind and the first 16 hex digits of the SHA-256 over the sorted file hashes.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from preceptor.errors import NotFoundError, StorageError
from preceptor.files.atomic import disk_reason, file_digest, sync_file, write_atomic

MANIFEST = "manifest.json"
_FORBIDDEN_SUFFIXES = {".pkl", ".pickle", ".pt", ".pth", ".bin", ".ckpt"}


@dataclass(frozen=True)
class Artifact:
    """A published folder. `files` maps each relative path to its SHA-256."""

    id: str
    kind: str
    path: Path
    metadata: dict[str, Any]
    parents: list[str]
    files: dict[str, str]


@dataclass
class ArtifactBuild:
    """A folder being filled; `artifact` is set once it is published."""

    kind: str
    path: Path
    metadata: dict[str, Any] = field(default_factory=dict)
    parents: list[str] = field(default_factory=list)
    published: Artifact | None = None

    @property
    def artifact(self) -> Artifact:
        if self.published is None:
            raise StorageError(f"The {self.kind} artifact was not published.")
        return self.published


class ArtifactStore:
    """The folder of all artifacts of an installation: `root/<kind>/<digest>`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @contextmanager
    def building(self, kind: str) -> Iterator[ArtifactBuild]:
        """Yield a build whose `path` is filled by the caller; publish it when the block ends well."""
        folder = self.root / kind
        staging: Path | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            staging = Path(tempfile.mkdtemp(prefix=".building-", dir=folder))
            staging.chmod(0o755)
            build = ArtifactBuild(kind, staging)
            yield build
            build.published = self._publish(build)
        except Exception as error:
            reason = disk_reason(error)
            if reason is None:
                raise
            raise StorageError(
                f"Storing the {kind} artifact in {folder} failed: {reason}. Free some space; nothing was published."
            ) from error
        finally:
            if staging is not None and staging.exists():
                shutil.rmtree(staging, ignore_errors=True)

    def open(self, artifact_id: str, *, verify: bool = False) -> Artifact:
        """Read an artifact's manifest; with `verify`, hash every file too.

        Raises:
            NotFoundError: there is no such artifact.
            StorageError: a file is missing, added or changed.
        """
        path = self.path(artifact_id)
        try:
            manifest = json.loads((path / MANIFEST).read_text())
        except FileNotFoundError:
            raise NotFoundError(f"There is no artifact '{artifact_id}' in {self.root}.") from None
        except (OSError, ValueError) as error:
            raise StorageError(f"The manifest of artifact '{artifact_id}' cannot be read ({error}).") from error
        if verify:
            for name, digest in manifest["files"].items():
                if not (path / name).is_file() or file_digest(path / name) != digest:
                    raise StorageError(
                        f"Artifact '{artifact_id}' is damaged: {name} is missing or changed. Build it again."
                    )
        return Artifact(
            artifact_id, manifest["kind"], path, manifest["metadata"], manifest["parents"], manifest["files"]
        )

    def path(self, artifact_id: str) -> Path:
        """The folder of an artifact id, which has the form `<kind>-<16 hex digits>`."""
        kind, _, digest = artifact_id.rpartition("-")
        if not kind.isidentifier() or not digest.isalnum():
            raise NotFoundError(f"'{artifact_id}' is not an artifact id; they look like dataset-0123456789abcdef.")
        return self.root / kind / digest

    def locate(self, reference: str) -> Path:
        """The folder behind an artifact id, or the path itself when it names an existing file or folder."""
        if Path(reference).exists():
            return Path(reference)
        try:
            return self.open(reference).path
        except NotFoundError:
            raise NotFoundError(
                f"There is no file or folder '{reference}', and no such artifact in {self.root}. Check the name."
            ) from None

    def _publish(self, build: ArtifactBuild) -> Artifact:
        names = sorted(p.relative_to(build.path).as_posix() for p in build.path.rglob("*") if p.is_file())
        for name in names:
            if Path(name).suffix in _FORBIDDEN_SUFFIXES:
                raise StorageError(f"{name} is a pickle-type file; artifacts hold safetensors, JSON and text only.")
            (build.path / name).chmod(0o644)  # safetensors writes files that only their owner may read
            sync_file(build.path / name)
        files = {name: file_digest(build.path / name) for name in names}
        digest = hashlib.sha256(json.dumps([build.kind, files], sort_keys=True).encode()).hexdigest()[:16]
        artifact_id = f"{build.kind}-{digest}"
        target = self.root / build.kind / digest
        manifest = {
            "id": artifact_id,
            "kind": build.kind,
            "metadata": build.metadata,
            "parents": build.parents,
            "files": files,
        }
        if not (target / MANIFEST).exists():
            write_atomic(build.path / MANIFEST, json.dumps(manifest, indent=2, sort_keys=True))
            try:
                build.path.rename(target)
            except OSError:
                if not (target / MANIFEST).exists():
                    raise
            sync_file(target.parent)
        return self.open(artifact_id)
