"""JSONL files in, rows with their line numbers out, and back: one place that says which line is wrong."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TextIO

from preceptor.errors import InputError
from preceptor.files.atomic import write_atomic


def read_jsonl(path: Path, *, may_be_empty: bool = False) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield `(line number, row)` for each non-empty line of a `.jsonl` or `.jsonl.gz` file.

    A byte order mark and any line ends are accepted.

    Raises:
        InputError: the file cannot be read, is empty and may not be, is not UTF-8, or a line is not a JSON object.
    """
    number = 0
    found = False
    try:
        with _opened(path) as handle:
            for number, line in enumerate(handle, start=1):
                if not line.strip():
                    continue
                found = True
                yield number, _row(path, number, line)
    except FileNotFoundError:
        raise InputError(f"There is no file {path}. Check the name.") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder; a JSONL file is needed.") from None
    except UnicodeDecodeError:
        raise InputError(
            f"{path} cannot be read: it is not UTF-8 text near line {number + 1}. Save it as UTF-8."
        ) from None
    except (gzip.BadGzipFile, EOFError, zlib.error):
        raise InputError(f"{path} cannot be read: it is no gzip file, or only a part of one. Copy it again.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}. Check the name and its permissions.") from None
    if not found and not may_be_empty:
        raise InputError(f"{path} is empty; it needs one JSON object a line.")


def _opened(path: Path) -> TextIO:
    return gzip.open(path, "rt", encoding="utf-8-sig") if path.suffix == ".gz" else path.open(encoding="utf-8-sig")


def _row(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError:
        cut = "" if line.endswith("\n") else " It is the last line and has no line end: the file may be half-written."
        raise InputError(f"{path}, line {number} is not valid JSON.{cut} Correct it and run again.") from None
    except RecursionError:
        raise InputError(f"{path}, line {number} is nested too deeply to be read. Correct it and run again.") from None
    if not isinstance(row, dict):
        raise InputError(f"{path}, line {number} is not a JSON object; each line needs one, such as {{...}}.")
    if "\\ud" in line.lower() and _has_lone_surrogate(row):
        raise InputError(
            f"{path}, line {number} holds half of a character (a lone \\ud800 to \\udfff), which is no text. "
            "Write it again as UTF-8."
        )
    return row


def _has_lone_surrogate(row: dict[str, Any]) -> bool:
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False


def text_field(path: Path, number: int, row: dict[str, Any], name: str) -> str:
    """The non-empty text of one field of a row.

    Raises:
        InputError: the field is missing, empty, or not text.
    """
    value = row.get(name)
    if not isinstance(value, str) or not value.strip():
        found = "missing" if name not in row else "empty" if isinstance(value, str) else "not text"
        raise InputError(f"{path}, line {number}: the field '{name}' is {found}. Correct the line and run again.")
    return value


def beside(file: Path, name: str) -> Path:
    """Return where more rows of a dataset lie beside its file: `ties.jsonl` of `a.jsonl` is `a.ties.jsonl`."""
    return file.with_name(f"{file.stem}.{name}")


def jsonl_bytes(rows: Iterable[dict[str, Any]]) -> bytes:
    """Rows as the content of a JSONL file."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def write_jsonl(path: Path, rows: Iterable[dict[str, Any]]) -> int:
    """Replace a JSONL file in one step; returns how many rows were written."""
    content = jsonl_bytes(rows)
    write_atomic(path, content)
    return content.count(b"\n")
