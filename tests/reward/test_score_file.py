"""Rows in, the same rows with scores out; bad rows are named and nothing is written."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from preceptor.errors import InputError, ModelError
from preceptor.modeling.frozen_head import load_head, save_head
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
    assert [{k: v for k, v in row.items() if k not in ("score", "score_sd")} for row in scored] == rows
    assert [row["score"] for row in scored] == pytest.approx(expected.tolist(), abs=1e-5)


def test_each_score_stands_beside_the_deviation_of_the_ensembles_scores(
    tmp_path: Path, write_rows: Any, frozen_model: Path
) -> None:
    prompts = ["What helps with gout?", "What helps a child with asthma?"]
    responses = ["Rest. See a doctor if it gets worse.", "It always works for everyone."]
    rows = [{"prompt": p, "response": r} for p, r in zip(prompts, responses, strict=True)]
    out = tmp_path / "scored.jsonl"
    score_file(write_rows(rows, "in.jsonl"), out, frozen_model)
    members = load_scorer(frozen_model).score_ensemble(prompts, responses)
    assert len(members) == 5
    found = [json.loads(line)["score_sd"] for line in out.read_text().splitlines()]
    assert found == pytest.approx(members.std(axis=0, ddof=1).tolist(), abs=1e-5)
    assert min(found) > 0


@pytest.mark.parametrize("heads", [1, 2])  # without an ensemble, and with one of a single head
def test_a_model_without_an_ensemble_has_no_deviation_to_write(
    heads: int, tmp_path: Path, write_rows: Any, frozen_model: Path
) -> None:
    folder = Path(shutil.copytree(frozen_model, tmp_path / "model"))
    head = load_head(folder)
    save_head(replace(head, weights=head.weights[:heads], offsets=head.offsets[:heads]), folder)
    row = {"prompt": "What helps with gout?", "response": "Rest.", "score_sd": 7.0}  # of another model
    out = tmp_path / "scored.jsonl"
    score_file(write_rows([row], "in.jsonl"), out, folder)
    assert json.loads(out.read_text())["score_sd"] is None


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
