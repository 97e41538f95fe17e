"""An archive from elsewhere goes in, its files below a folder come out, or nothing and the reason.

The archive was written by a machine of someone else, so nothing in it is believed: only plain files with plain relative
names, only kinds of files that run no code when they are read, and never more than the limit.
"""

from __future__ import annotations

import codecs
import gzip
import io
import json
import shutil
import tarfile
import tempfile
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from preceptor.errors import StorageError

TEXTS = {".json", ".jsonl", ".txt", ".md", ".jinja", ".html"}
SUFFIXES = {".safetensors", *TEXTS}
MOST_FILES = 2_000
_LONGEST_READ = 16 << 20  # bytes of one header: tarfile reads a header whole, whatever size the archive gives it
_LONGEST_JSON = 64 << 20  # bytes: JSON is read whole, and the largest of a model are vocabularies of 35 MB
_CHUNK = 1 << 20


class _BoundedFile(io.FileIO):
    """A file that refuses to read much at once, which is how an oversized tar header would fill the memory."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or not 0 <= size <= _LONGEST_READ:
            raise StorageError("A header of the archive is larger than any real one.")
        return super().read(size) or b""


def extract(archive: Path, folder: Path, *, max_bytes: int) -> list[str]:
    """Unpack a .tar.gz of a model into an empty folder and return the names of its files.

    Raises:
        StorageError: the archive is not whole, is larger than `max_bytes` when unpacked, or holds anything but plain
            safetensors, JSON and text files; the folder is emptied again.
    """
    try:
        with tempfile.TemporaryDirectory(dir=archive.parent) as scratch:
            plain = Path(scratch) / "plain.tar"
            _gunzip(archive, plain, max_bytes)
            with _BoundedFile(plain) as handle, tarfile.open(fileobj=handle, mode="r:") as tar:
                return _unpack(tar, folder)
    except BaseException as error:
        for found in folder.iterdir():
            shutil.rmtree(found) if found.is_dir() else found.unlink()
        if isinstance(error, tarfile.TarError | EOFError | gzip.BadGzipFile | UnicodeError):
            raise StorageError(f"{archive.name} is not a whole .tar.gz archive; fetch it again.") from error
        raise


def check_safetensors(path: Path) -> None:
    """Make sure that a file is a whole safetensors file: the lengths that its header states are its own.

    Raises:
        StorageError: it is torn, or is something else under that name.
    """
    size = path.stat().st_size
    with path.open("rb") as handle:
        length = int.from_bytes(handle.read(8), "little")
        if not 2 <= length <= min(size - 8, 100_000_000):
            raise StorageError(f"{path.name} is not a safetensors file.")
        try:
            header = json.loads(handle.read(length))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
            whole = max(ends, default=0) == size - 8 - length
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError):
            raise StorageError(f"{path.name} is not a safetensors file.") from None
    if not whole:
        raise StorageError(f"{path.name} is torn: it does not hold the tensors that its header names.")


def _gunzip(archive: Path, plain: Path, max_bytes: int) -> None:
    room = max_bytes + (1 << 20)  # tar adds headers and padding
    with gzip.open(archive, "rb") as packed, plain.open("wb") as out:
        while chunk := packed.read(_CHUNK):
            room -= len(chunk)
            if room < 0:
                raise StorageError(
                    f"{archive.name} unpacks to more than {max_bytes / 1e9:.1f} GB. If that is right, allow more."
                )
            out.write(chunk)


def _unpack(tar: tarfile.TarFile, folder: Path) -> list[str]:
    names: list[str] = []
    for count, member in enumerate(tar, start=1):
        if count > MOST_FILES:
            raise StorageError(f"The archive holds more than {MOST_FILES} files.")
        name = _plain_name(member)
        if member.isdir():
            continue
        target = folder / name
        if target.exists() or name.lower() in {other.lower() for other in names}:
            raise StorageError(f"The archive holds {name!r} twice.")
        source = tar.extractfile(member)
        assert source is not None  # a plain file has content
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as out:
            shutil.copyfileobj(source, out, _CHUNK)
        _check_content(target)
        names.append(name)
    return sorted(names)


def _plain_name(member: tarfile.TarInfo) -> str:
    """The member's name when it is a folder or a plain file of an allowed kind, below the place of unpacking."""
    shown = repr(member.name[:100])
    if not (member.isfile() or member.isdir()) or member.issparse():
        raise StorageError(f"The archive holds {shown}, which is a link or a device, not a plain file.")
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or "\\" in member.name or "\0" in member.name or ":" in member.name:
        raise StorageError(f"The archive holds {shown}, which would be written outside its folder.")
    if member.isfile() and path.suffix not in SUFFIXES:
        raise StorageError(f"The archive holds {shown}; a model holds safetensors, JSON and text files only.")
    return path.as_posix()


def _check_content(path: Path) -> None:
    """A file is what its name says: a pickle that is called .safetensors or .json is refused."""
    if path.suffix == ".safetensors":
        check_safetensors(path)
        return
    with path.open("rb") as handle:
        if not _is_text(handle):
            raise StorageError(f"{path.name} is not UTF-8 text.")
    if path.suffix == ".json":
        if path.stat().st_size > _LONGEST_JSON:
            raise StorageError(f"{path.name} is larger than any JSON file of a model.")
        try:
            json.loads(path.read_bytes())
        except (ValueError, RecursionError):
            raise StorageError(f"{path.name} is not valid JSON.") from None


def _is_text(handle: BinaryIO) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        while chunk := handle.read(_CHUNK):  # not by lines: a line may be as long as the file
            if "\0" in decoder.decode(chunk):
                return False
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True
