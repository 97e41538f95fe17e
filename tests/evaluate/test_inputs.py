"""What files of ratings and pairs may hold, and what is said when they hold something else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from preceptor.errors import InputError
from preceptor.evaluate.inputs import ratings_judge


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("rating", [float("nan"), float("inf"), "nan", True, None, [5]])
def test_a_rating_that_is_no_number_is_named_with_its_line(tmp_path: Path, rating: object) -> None:
    rows = [{"prompt": "p", "response": "good", "rating": 4}, {"prompt": "p", "response": "bad", "rating": rating}]
    path = write(tmp_path / "ratings.jsonl", rows)
    with pytest.raises(InputError, match="line 2 needs"):
        ratings_judge(path)


def test_several_ratings_of_an_answer_are_averaged(tmp_path: Path) -> None:
    rows = [{"prompt": "p", "response": "good", "rating": rating} for rating in (4, "5")]
    assert ratings_judge(write(tmp_path / "ratings.jsonl", rows))(["p"], ["good"]).tolist() == [4.5]
