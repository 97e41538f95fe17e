"""A file is cleaned whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from preceptor.errors import InputError
from preceptor.privacy import scrub
from preceptor.privacy.scrub_file import scrub_file


def _write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_named_fields_are_cleaned_and_the_rest_stays(tmp_path: Path) -> None:
    source = _write(
        tmp_path / "in.jsonl",
        {"id": 7, "text": "Dr. Abernathy called 555-867-5309", "note": None},
        {"id": 8, "text": "Metformin 500 mg", "note": "seen 03/14/2024"},
    )
    seen: list[tuple[int, int]] = []
    report = scrub_file(source, tmp_path / "out.jsonl", ["text", "note"], progress=lambda a, b: seen.append((a, b)))
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert rows == [
        {"id": 7, "text": "[NAME_1] called [PHONE_1]", "note": None},
        {"id": 8, "text": "Metformin 500 mg", "note": "seen [DATE_1]"},
    ]
    assert report.rows == 2
    assert "1 NAME" in str(report)
    assert seen[-1] == (2, 2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "empty"),
        ('{"text": "a"}\n{"text": "b', "line 2 .*half-written"),
        ('{"text": "a"}\n{"other": "b"}\n', "line 2: the field 'text' is missing"),
        ('{"text": 3}\n', "line 1: the field 'text' is not text"),
        ("[1]\n", "line 1 is not a JSON object"),
    ],
)
def test_a_bad_input_names_its_line_and_publishes_nothing(tmp_path: Path, content: str, message: str) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text(content)
    with pytest.raises(InputError, match=message):
        scrub_file(source, tmp_path / "out.jsonl", ["text"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl"]


def test_a_row_that_cannot_be_cleaned_stops_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = scrub.detect

    def fails(fields: Any, known: Any = ()) -> Any:
        if any("poison" in field.text for field in fields):
            raise RuntimeError("broke")
        return real(fields, known)

    monkeypatch.setattr(scrub, "detect", fails)
    source = _write(tmp_path / "in.jsonl", {"text": "fine"}, {"text": "poison"})
    with pytest.raises(InputError, match="line 2"):
        scrub_file(source, tmp_path / "out.jsonl", ["text"])
    assert not (tmp_path / "out.jsonl").exists()
