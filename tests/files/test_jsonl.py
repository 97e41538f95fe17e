"""JSONL files: packed or not, what is empty, and what is no file of that kind."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from preceptor.errors import InputError
from preceptor.files.jsonl import read_jsonl

_ROWS = b'\xef\xbb\xbf{"a": 1}\r\n\n{"a": "two\xe2\x80\xa8lines"}'


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz"])
def test_rows_carry_the_numbers_of_their_lines_packed_or_not(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(_ROWS) if name.endswith(".gz") else _ROWS)
    assert list(read_jsonl(path)) == [(1, {"a": 1}), (3, {"a": "two\u2028lines"})]


def test_an_empty_file_is_refused_unless_it_may_be_empty(tmp_path: Path) -> None:
    path = tmp_path / "none.jsonl"
    path.write_bytes(b"\n \n")
    assert list(read_jsonl(path, may_be_empty=True)) == []
    with pytest.raises(InputError, match="is empty"):
        list(read_jsonl(path))


@pytest.mark.parametrize("content", [_ROWS, gzip.compress(_ROWS)[:-9], gzip.compress(_ROWS)[:10] + b"\xff" * 40])
def test_a_torn_or_false_gzip_file_is_said_to_be_one(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "rows.jsonl.gz"
    path.write_bytes(content)
    with pytest.raises(InputError, match="cannot be read: it is no gzip file, or only a part of one"):
        list(read_jsonl(path))
