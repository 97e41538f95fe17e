"""A config, its models and its run go in; the folder that keeps the checkpoints, and whether it is free, come out.

A run of a round keeps its folder by its run id. Any other run, such as `preceptor policy`, keeps it by what it
trains: the same command goes on with what an interrupted one left.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

from preceptor.db.engine import session_scope
from preceptor.db.tables.lineage import Run
from preceptor.errors import ConflictError, StorageError
from preceptor.files.atomic import disk_reason
from preceptor.policy.config import PolicyConfig
from preceptor.policy.identity import training_key
from preceptor.stage import StageContext

_LOCK = "in-use"


@contextmanager
def work_folder(
    config: PolicyConfig, context: StageContext, *, base: Path, reward: Path, preferences: Path | None = None
) -> Iterator[Path]:
    """The folder of this training below `<home>/work`; it is left behind only with a checkpoint in it.

    Raises:
        ConflictError: the same training is under way in another process.
    """
    name = context.run_id if _in_round(context) else training_key(config, base, reward, preferences)
    with held(context.settings.home / "work" / f"policy-{name}") as folder:
        yield folder


def _in_round(context: StageContext) -> bool:
    if context.run_id is None:
        return False
    with session_scope(context.engine) as session:
        return session.scalar(sa.select(Run.round_id).where(Run.run_id == context.run_id)) is not None


@contextmanager
def held(folder: Path) -> Iterator[Path]:
    """The folder of one training, for one process at a time; it is left behind only with a checkpoint in it.

    What a killed run was writing there when it died is removed first.

    Raises:
        ConflictError: another process trains in this folder.
        StorageError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise StorageError(f"Writing {folder} failed: {disk_reason(error)}. Free some space.") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise ConflictError(
            f"Another process runs this very training in {folder}. Wait for it, or train with another seed."
        ) from None
    try:
        _sweep(folder)
        yield folder
    finally:
        if _is_ours(folder, handle) and not any(folder.glob("checkpoint-*")):
            shutil.rmtree(folder, ignore_errors=True)
        os.close(handle)


def _is_ours(folder: Path, handle: int) -> bool:
    """Whether the folder is the one that was locked: a published policy's is gone, and may have been made anew."""
    try:
        return os.path.samestat((folder / _LOCK).stat(), os.fstat(handle))
    except FileNotFoundError:
        return False


def _sweep(folder: Path) -> None:
    """Remove staging files and folders, which have names with a dot in front and vanish when their writer ends."""
    for path in folder.glob(".*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
