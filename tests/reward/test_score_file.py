"""Rows in, the same rows with scores out; bad rows are named and nothing is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from preceptor.errors import InputError, ModelError
from preceptor.modeling.reward_model import load_scorer
from preceptor.reward.score_file import score_file


def test_scores_are_added_to_the_rows_in_their_order(tmp_path: Path, write_rows: Any, frozen_model: Path) -> None:
    rows = [
        {"prompt": "What helps with gout?", "response": "Rest. See a doctor if it gets worse.", "id": 7},
        {"prompt": "What helps with gout?", "response": ""},
    ]
    out = tmp_path / "scored.jsonl"
    assert score_file(write_rows(rows, "in.jsonl"), out, frozen_model) == 2
    scored = [json.loads(line) for line in out.read_text().splitlines()]
    expected = load_scorer(frozen_model).score([r["prompt"] for r in rows], [r["response"] for r in rows])
    assert [{k: v for k, v in row.items() if k != "score"} for row in scored] == rows
    assert [row["score"] for row in scored] == pytest.approx(expected.tolist(), abs=1e-5)


def test_bad_rows_are_named_by_line_and_nothing_is_written(tmp_path: Path, write_rows: Any, frozen_model: Path) -> None:
    rows = [{"prompt": "p", "response": "r"}, {"prompt": "p"}, {"response": "hidden words"}]
    out = tmp_path / "scored.jsonl"
    with pytest.raises(InputError) as error:
        score_file(write_rows(rows, "in.jsonl"), out, frozen_model)
    assert "line 2 (no response), line 3 (no prompt)" in error.value.message
    assert "hidden words" not in error.value.message
    assert not out.exists()


def test_another_kind_of_model_is_refused(tmp_path: Path, write_rows: Any, tiny_gpt2: Path) -> None:
    with pytest.raises(ModelError, match="policy"):
        score_file(write_rows([{"prompt": "p", "response": "r"}], "in.jsonl"), tmp_path / "out.jsonl", tiny_gpt2)
    assert not (tmp_path / "out.jsonl").exists()
