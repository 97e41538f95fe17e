"""Prompts and chosen answers read from files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from preceptor.errors import InputError
from preceptor.policy.prompts import load_chosen, load_prompts


def _write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_only_training_prompts_are_read_each_once_in_file_order(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"prompt": "b", "split": "train"},
        {"prompt": "secret", "split": "test"},
        {"prompt": "a"},
        {"prompt": "b", "split": "train"},
        {"prompt": "v", "split": "validation"},
    ]
    assert load_prompts(_write(tmp_path / "p.jsonl", rows), most=9, seed=0) == ["b", "a"]


def test_above_the_limit_a_seeded_sample_is_taken(tmp_path: Path) -> None:
    path = _write(tmp_path / "p.jsonl", [{"prompt": str(i)} for i in range(50)])
    first = load_prompts(path, most=10, seed=1)
    assert first == load_prompts(path, most=10, seed=1) != load_prompts(path, most=10, seed=2)
    assert len(first) == 10
    assert first == sorted(first, key=int)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"prompt": "a"}\nnot json\n', "line 2 is not valid JSON"),
        ('{"prompt": "a"}\n[1]\n', "line 2 is not a JSON object"),
        ('{"prompt": ""}\n', "line 1: the field 'prompt' is empty"),
        ('{"question": "the patient said"}\n', "line 1: the field 'prompt' is missing"),
        ('{"prompt": "a", "split": "test"}\n', "no training prompts"),
        ("", "is empty"),
    ],
)
def test_a_bad_file_is_named_by_line_and_never_quoted(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        load_prompts(path, most=9, seed=0)
    assert "patient" not in str(caught.value)


def test_a_line_separator_within_a_prompt_ends_no_line(tmp_path: Path) -> None:
    path = _write(tmp_path / "p.jsonl", [{"prompt": "first\u2028second\u0085third"}])
    assert load_prompts(path, most=9, seed=0) == ["first\u2028second\u0085third"]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing\.jsonl"):
        load_prompts(tmp_path / "nothing.jsonl", most=1, seed=0)


def test_chosen_answers_come_from_the_training_split(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"prompt": "a", "chosen": "x", "rejected": "y", "metadata": {"split": "train"}},
        {"prompt": "a", "chosen": "x", "rejected": "z", "metadata": {"split": "train"}},
        {"prompt": "b", "chosen": "kept back", "rejected": "y", "metadata": {"split": "test"}},
        {"prompt": "c", "chosen": "w", "rejected": "y", "metadata": {}},
    ]
    assert load_chosen(_write(tmp_path / "c.jsonl", rows)) == [("a", "x"), ("c", "w")]


def test_the_answer_to_imitate_is_the_one_that_a_label_prefers(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"prompt": prompt, "chosen": "x", "rejected": "y", "metadata": {"label": label}}
        for prompt, label in (("a", 0.8), ("b", 0.5), ("c", 0.2), ("d", None))
    ]
    assert load_chosen(_write(tmp_path / "c.jsonl", rows)) == [("a", "x"), ("c", "y"), ("d", "x")]


@pytest.mark.parametrize(("corrections", "taken"), [(10, 10), (9, 12)])
def test_corrections_are_preferred_where_there_are_enough(tmp_path: Path, corrections: int, taken: int) -> None:
    rows: list[dict[str, Any]] = [
        {"prompt": f"p{i}", "chosen": f"written {i}", "metadata": {"instrument": "correction"}}
        for i in range(corrections)
    ]
    rows += [
        {"prompt": f"q{i}", "chosen": "the better of two", "metadata": {"instrument": "comparison"}} for i in range(3)
    ]
    found = load_chosen(_write(tmp_path / "c.jsonl", rows))
    assert len(found) == taken
    assert all(chosen.startswith("written") for _, chosen in found) == (taken == corrections)
