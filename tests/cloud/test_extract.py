"""An archive from elsewhere is unpacked only when it is a plain model: every trick known of is tried here."""

from __future__ import annotations

import gzip
import io
import pickle
import tarfile
import tracemalloc
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from preceptor.cloud.extract import MOST_FILES, check_safetensors, extract
from preceptor.errors import StorageError

Tensors = Callable[[dict[str, list[float]]], bytes]
LIMIT = 10_000_000


def member(name: str, content: bytes = b"{}", **values: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in values.items():
        setattr(info, field, value)
    return info, content


@pytest.fixture
def pack(tmp_path: Path) -> Callable[..., Path]:
    def write(*members: tuple[tarfile.TarInfo, bytes], **values: Any) -> Path:
        path = tmp_path / "model.tar.gz"
        with tarfile.open(path, "w:gz", **values) as tar:
            for info, content in members:
                tar.addfile(info, io.BytesIO(content))
        return path

    return write


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def test_a_model_is_unpacked(pack: Callable[..., Path], empty: Path, tensors: Tensors) -> None:
    weights = tensors({"w": [1.0]})
    archive = pack(
        member("config.json"),
        member("./tokenizer/", b"", type=tarfile.DIRTYPE),
        member("./tokenizer/vocab.txt", "é\n".encode()),
        member("model.safetensors", weights, mode=0o4777),
        member("metrics.jsonl", b'{"a": 1}\n'),
    )
    assert extract(archive, empty, max_bytes=LIMIT) == [
        "config.json",
        "metrics.jsonl",
        "model.safetensors",
        "tokenizer/vocab.txt",
    ]
    assert (empty / "model.safetensors").read_bytes() == weights
    assert (empty / "model.safetensors").stat().st_mode & 0o7111 == 0  # what the archive says of modes counts nothing


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (member("/etc/passwd.json"), "outside its folder"),
        (member("../escape.json"), "outside its folder"),
        (member("a/../../escape.json"), "outside its folder"),
        (member("a\\..\\b.json"), "outside its folder"),
        (member("C:evil.json"), "outside its folder"),
        (member("link.json", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd"), "link or a device"),
        (member("hard.json", b"", type=tarfile.LNKTYPE, linkname="config.json"), "link or a device"),
        (member("fifo.json", b"", type=tarfile.FIFOTYPE), "link or a device"),
        (member("tty.json", b"", type=tarfile.CHRTYPE, devmajor=5), "link or a device"),
        (member("disk.json", b"", type=tarfile.BLKTYPE), "link or a device"),
        (member("sparse.json", type=tarfile.GNUTYPE_SPARSE), "link or a device"),
        (member("weights.pkl", pickle.dumps({})), "safetensors, JSON and text files only"),
        (member("pytorch_model.bin", b"PK\x03\x04"), "safetensors, JSON and text files only"),
        (member("run.py", b"print()"), "safetensors, JSON and text files only"),
        (member("no_suffix", b"x"), "safetensors, JSON and text files only"),
        (member("model.safetensors", pickle.dumps([0] * 90)), "not a safetensors file"),
        (member("model.safetensors", b""), "not a safetensors file"),
        (member("model.safetensors", (9_000).to_bytes(8, "little") + b"[" * 9_000), "not a safetensors file"),
        (member("notes.txt", pickle.dumps({"a": 1})), "not UTF-8"),
        (member("notes.txt", b"half of one: \xc3"), "not UTF-8"),
        (member("notes.txt", b"a\0b"), "not UTF-8"),
        (member("broken.json", b"{"), "not valid JSON"),
        (member("deep.json", b"[" * 200_000), "not valid JSON"),
    ],
)
def test_a_dangerous_archive_leaves_nothing_behind(
    pack: Callable[..., Path], empty: Path, bad: tuple[tarfile.TarInfo, bytes], reason: str
) -> None:
    archive = pack(member("config.json"), member("sub/more.json"), bad)
    with pytest.raises(StorageError, match=reason):
        extract(archive, empty, max_bytes=LIMIT)
    assert list(empty.iterdir()) == []
    assert sorted(path.name for path in empty.parent.iterdir() if path.suffix != ".gz") == ["out"]


def test_a_name_that_comes_twice_is_refused(pack: Callable[..., Path], empty: Path) -> None:
    for second in ("config.json", "./config.json", "CONFIG.json"):
        with pytest.raises(StorageError, match="twice"):
            extract(pack(member("config.json"), member(second)), empty, max_bytes=LIMIT)


def test_a_bomb_is_stopped_while_it_unpacks(pack: Callable[..., Path], empty: Path) -> None:
    archive = pack(member("big.txt", b"a" * 8_000_000))
    assert archive.stat().st_size < 100_000
    with pytest.raises(StorageError, match=r"more than 0\.0 GB"):
        extract(archive, empty, max_bytes=1_000_000)


@pytest.mark.parametrize(("name", "size"), [("big.jsonl", 30_000_000), ("big.json", 70_000_000)])
def test_a_text_without_lines_is_never_in_memory_whole(
    name: str, size: int, pack: Callable[..., Path], empty: Path
) -> None:
    archive = pack(member(name, b"7" * size), compresslevel=1)
    tracemalloc.start()
    try:
        with pytest.raises(StorageError, match="larger than any") if name == "big.json" else nullcontext():
            extract(archive, empty, max_bytes=2 * size)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()


def test_too_many_files_are_refused(pack: Callable[..., Path], empty: Path) -> None:
    members = [member(f"d{n}/", b"", type=tarfile.DIRTYPE) for n in range(MOST_FILES + 1)]
    with pytest.raises(StorageError, match="more than 2000 files"):
        extract(pack(*members), empty, max_bytes=LIMIT)


@pytest.mark.parametrize("size", [40_000_000, -1_000])  # of less than nothing, everything would be read
def test_a_header_that_would_fill_the_memory_is_refused(size: int, tmp_path: Path, empty: Path) -> None:
    info = tarfile.TarInfo("././@PaxHeader")
    info.type, info.size = tarfile.XHDTYPE, size
    archive = tmp_path / "model.tar.gz"
    with gzip.open(archive, "wb", compresslevel=1) as out:
        out.write(info.tobuf(tarfile.USTAR_FORMAT if size > 0 else tarfile.GNU_FORMAT))
        for _ in range(40):
            out.write(bytes(1_000_000))
    with pytest.raises(StorageError, match="header of the archive"):
        extract(archive, empty, max_bytes=100_000_000)


def test_a_torn_archive_is_told_as_torn(pack: Callable[..., Path], empty: Path, tensors: Tensors) -> None:
    archive = pack(member("model.safetensors", tensors({"w": [float(n * n % 97) for n in range(5_000)]})))
    whole = archive.read_bytes()
    cut = gzip.compress(gzip.decompress(whole)[:5_000])  # in the middle of a file, and packed again
    for content in (whole[: len(whole) // 2], cut, b"not an archive", b"", gzip.compress(b"no tar" * 200)):
        archive.write_bytes(content)
        with pytest.raises(StorageError, match="whole"):
            extract(archive, empty, max_bytes=LIMIT)
        assert list(empty.iterdir()) == []


def test_weights_whose_header_is_larger_than_any_real_one_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with path.open("wb") as file:
        file.write((200_000_000).to_bytes(8, "little"))
        file.truncate(300_000_000)  # holes take no room on the disk
    tracemalloc.start()
    try:
        with pytest.raises(StorageError, match="not a safetensors file"):
            check_safetensors(path)
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


def test_a_torn_weight_file_is_noticed(tmp_path: Path, tensors: Tensors) -> None:
    path = tmp_path / "model.safetensors"
    whole = tensors({"a": [1.0, 2.0], "b": [3.0]})
    path.write_bytes(whole)
    check_safetensors(path)
    for content in (whole[:-1], whole + b"x", whole[:20], b"\xff" * 200):
        path.write_bytes(content)
        with pytest.raises(StorageError):
            check_safetensors(path)
