"""Files and folders written whole or not at all: synced, renamed into place, and untouched when the disk is full."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
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
                path.chmod(0o644)  # safetensors writes files that only their owner may read
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
    write_together({path: content})


def write_together(contents: Mapping[Path, str | bytes]) -> None:
    """Replace files that belong together: each is written whole beside its place before the first is replaced.

    Raises:
        StorageError: the disk is full or a place is not writable; the old files are as they were.
    """
    written: dict[Path, Path] = {}
    path = next(iter(contents))
    try:
        for path, content in contents.items():
            written[path] = _beside(path)
            with written[path].open("wb") as handle:
                handle.write(content.encode() if isinstance(content, str) else content)
                handle.flush()
                os.fsync(handle.fileno())
            written[path].chmod(0o644)
        for path, temporary in written.items():
            temporary.replace(path)
        for folder in {path.parent for path in contents}:
            sync_file(folder)
    except OSError as error:
        raise _refused(path, error) from error
    finally:
        for temporary in written.values():
            temporary.unlink(missing_ok=True)


def require_place(path: Path) -> None:
    """Find out before long work whether a file can be written at `path`; nothing is left there.

    Raises:
        StorageError: it cannot.
    """
    folder = next((parent for parent in path.absolute().parents if parent.exists()), Path("/"))
    try:
        _refuse_folder(path)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise _refused(path, error) from error


def _beside(path: Path) -> Path:
    """A new empty file in the folder of `path`, which is made where it is missing."""
    _refuse_folder(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    os.close(descriptor)
    return Path(name)


def _refuse_folder(path: Path) -> None:
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))


def _refused(path: Path, error: OSError) -> StorageError:
    return StorageError(f"Writing {path} failed: {error.strerror or error}. Free some space or choose another place.")
