"""Artifacts are whole or absent, named by content, verified on request, and free of pickle."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy as sa

from preceptor.artifacts.lineage import ancestors, record_artifact
from preceptor.artifacts.store import Artifact, ArtifactStore
from preceptor.db.engine import session_scope
from preceptor.errors import NotFoundError, StorageError


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore(tmp_path / "artifacts")


def publish(store: ArtifactStore, text: str = "hello", *, parents: tuple[str, ...] = ()) -> Artifact:
    with store.building("dataset") as build:
        (build.path / "part").mkdir()
        (build.path / "part" / "a.txt").write_text(text)
        build.metadata["n"] = 1
        build.parents.extend(parents)
    return build.artifact


def test_the_same_content_has_the_same_id_and_other_content_another(store: ArtifactStore) -> None:
    first, again, other = publish(store), publish(store), publish(store, "other")
    assert first.id == again.id != other.id
    assert store.open(first.id, verify=True).metadata == {"n": 1}


def test_a_build_that_fails_leaves_nothing(store: ArtifactStore) -> None:
    def fail() -> None:
        with store.building("dataset") as build:
            (build.path / "a.txt").write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert [path for path in store.root.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("damage", ["change", "remove"])
def test_a_damaged_file_is_noticed_and_named(store: ArtifactStore, damage: str) -> None:
    artifact = publish(store)
    target = artifact.path / "part" / "a.txt"
    target.write_text("changed") if damage == "change" else target.unlink()
    with pytest.raises(StorageError, match=r"part/a\.txt"):
        store.open(artifact.id, verify=True)


def test_a_pickle_is_refused(store: ArtifactStore) -> None:
    def publish_pickle() -> None:
        with store.building("policy") as build:
            (build.path / "weights.bin").write_bytes(b"x")

    with pytest.raises(StorageError, match=r"weights\.bin"):
        publish_pickle()
    assert not any(store.root.rglob("manifest.json"))


def test_what_is_neither_a_path_nor_an_artifact_is_said_so(store: ArtifactStore) -> None:
    for reference in ("/not/there", "dataset-0123456789abcdef", "nonsense"):
        with pytest.raises(NotFoundError, match="no file or folder"):
            store.locate(reference)


def test_lineage_finds_every_ancestor_nearest_first(store: ArtifactStore, engine: sa.Engine) -> None:
    first = publish(store, "1")
    second = publish(store, "2", parents=(first.id,))
    third = publish(store, "3", parents=(second.id,))
    with session_scope(engine) as session:
        for artifact in (first, second, third, third):
            record_artifact(session, artifact, run_id=None)
        assert ancestors(session, third.id) == [second.id, first.id]
