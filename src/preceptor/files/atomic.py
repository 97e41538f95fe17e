"""Files and folders written whole or not at all: synced, renamed into place, and untouched when the disk is full."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from preceptor.errors import PreceptorError, StorageError


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, in hex."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def sync_file(path: Path) -> None:
    """Make a file or folder durable before anything refers to it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def disk_reason(error: BaseException) -> str | None:
    """Why the system refused to read or write, in its own words; None when the error is about something else.

    The writers of safetensors files and of tokenizers raise types of their own, which name the system's error number.
    """
    if isinstance(error, OSError):
        return error.strerror or str(error)
    if isinstance(error, PreceptorError):
        return None
    named = re.search(r"\(os error (\d+)\)", str(error))
    return os.strerror(int(named.group(1))) if named else None


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """A temporary folder beside `target` that replaces it when the block succeeds and vanishes when it fails.

    Raises:
        StorageError: the disk is full or the place is not writable; `target` is as it was before.
    """
    staging: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
        staging.chmod(0o755)
        yield staging
        for path in staging.rglob("*"):
            if path.is_file():
                sync_file(path)
        if target.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{target.name}-old-", dir=target.parent))
            target.rename(old / "was")
            staging.rename(target)
            shutil.rmtree(old, ignore_errors=True)
        else:
            staging.rename(target)
        sync_file(target.parent)
    except Exception as error:
        reason = disk_reason(error)
        if reason is None:
            raise
        raise StorageError(
            f"Writing {target} failed: {reason}. Free some space or choose another place; nothing was published."
        ) from error
    finally:
        if staging is not None and staging.exists():
            shutil.rmtree(staging, ignore_errors=True)


def write_atomic(path: Path, content: str | bytes) -> None:
    """Replace a file in one step, durably.

    Raises:
        StorageError: the disk is full or the place is not writable; the old file is as it was.
    """
    data = content.encode() if isinstance(content, str) else content
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
        temporary = Path(name)
        with os.fdopen(descriptor, "wb") as handle:
            handle.write(data)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
        sync_file(path.parent)
    except OSError as error:
        raise StorageError(
            f"Writing {path} failed: {error.strerror or error}. Free some space or choose another place."
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
