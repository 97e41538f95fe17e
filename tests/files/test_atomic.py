"""Files and folders are written whole or not at all, and a full disk is one sentence."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from preceptor.artifacts.store import ArtifactStore
from preceptor.errors import DataError, StorageError
from preceptor.files.atomic import atomic_folder, disk_reason, write_atomic
from preceptor.files.jsonl import write_jsonl

Disk = Callable[[int], AbstractContextManager[None]]


def test_a_file_that_does_not_fit_leaves_the_old_one(tmp_path: Path, small_disk: Disk) -> None:
    path = tmp_path / "rows.jsonl"
    write_jsonl(path, [{"n": 1}])
    with small_disk(100), pytest.raises(StorageError, match=r"rows\.jsonl failed: File too large"):
        write_jsonl(path, [{"n": n} for n in range(100)])
    assert path.read_text() == '{"n": 1}\n'
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_does_not_fit_leaves_the_old_one(tmp_path: Path, small_disk: Disk) -> None:
    target = tmp_path / "model"
    with atomic_folder(target) as folder:
        (folder / "a").write_text("old")
    with (
        small_disk(1000),
        pytest.raises(StorageError, match="model failed: File too large"),
        atomic_folder(target) as f,
    ):
        save_file({"weight": np.zeros(1000)}, f / "model.safetensors")
    assert [path.name for path in tmp_path.rglob("*")] == ["model", "a"]


def test_weights_can_be_read_by_every_account_that_may_read_the_folder(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "model") as folder:
        save_file({"weight": np.zeros(10)}, folder / "model.safetensors")
        (folder / "model.safetensors").chmod(0o600)
    with ArtifactStore(tmp_path / "store").building("policy") as build:
        save_file({"weight": np.zeros(10)}, build.path / "model.safetensors")
        (build.path / "model.safetensors").chmod(0o600)
    for written in (tmp_path / "model", build.artifact.path):
        assert (written / "model.safetensors").stat().st_mode & 0o777 == 0o644


def test_an_artifact_that_does_not_fit_is_not_published(tmp_path: Path, small_disk: Disk) -> None:
    store = ArtifactStore(tmp_path)
    with (
        small_disk(1000),
        pytest.raises(StorageError, match="nothing was published"),
        store.building("policy") as build,
    ):
        save_file({"weight": np.zeros(1000)}, build.path / "model.safetensors")
    assert list((tmp_path / "policy").iterdir()) == []


def test_other_errors_pass_unchanged(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), atomic_folder(tmp_path / "folder"):
        raise ZeroDivisionError
    with pytest.raises(DataError, match="too small"), ArtifactStore(tmp_path / "store").building("policy"):
        raise DataError("too small")
    assert not (tmp_path / "folder").exists()
    assert disk_reason(ValueError("a bad value")) is None


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"file/out failed: "):
        write_atomic(tmp_path / "file" / "out", "text")
