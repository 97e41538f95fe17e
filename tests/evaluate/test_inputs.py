"""What files of ratings and pairs may hold, and what is said when they hold something else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from preceptor.errors import DataError, InputError
from preceptor.evaluate.inputs import held_out_prompts, learned_prompts, pairs_of, ratings_judge


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize(
    "rating", [float("nan"), float("inf"), "nan", True, None, [5], pytest.param(10**400, id="huge")]
)
def test_a_rating_that_is_no_number_is_named_with_its_line(tmp_path: Path, rating: object) -> None:
    rows = [{"prompt": "p", "response": "good", "rating": 4}, {"prompt": "p", "response": "bad", "rating": rating}]
    path = write(tmp_path / "ratings.jsonl", rows)
    with pytest.raises(InputError, match="line 2 needs"):
        ratings_judge(path)


def test_several_ratings_of_an_answer_are_averaged(tmp_path: Path) -> None:
    rows = [{"prompt": "p", "response": "good", "rating": rating} for rating in (4, "5")]
    assert ratings_judge(write(tmp_path / "ratings.jsonl", rows))(["p"], ["good"]).tolist() == [4.5]


def dataset_of(folder: Path, *metadata: Any) -> Path:
    rows = [{"prompt": f"p{i}", "chosen": "a", "rejected": "b", "metadata": held} for i, held in enumerate(metadata)]
    write(folder / "preferences.jsonl", rows)
    return folder


def test_pairs_are_judged_by_as_the_reward_model_learns_from_them(tmp_path: Path) -> None:
    test: dict[str, Any] = {"split": "test"}
    folder = dataset_of(
        tmp_path,
        test,
        {**test, "label": 0.5},
        {**test, "label": 0.2},
        {**test, "label": None},
        {"split": "train"},
        None,
    )
    with (folder / "preferences.jsonl").open("a") as lines:
        lines.write(json.dumps({"prompt": "same", "chosen": "x", "rejected": "x", "metadata": test}) + "\n")
    found = [(pair["prompt"], pair["chosen"], pair["rejected"]) for pair in pairs_of(folder, "test")]
    # neither ties nor identical answers have a better one; a label below one half says that it is the other one
    assert found == [("p0", "a", "b"), ("p2", "b", "a"), ("p3", "a", "b")]


@pytest.mark.parametrize("metadata", ["x", [1], {"label": "sure"}, {"label": float("nan")}, {"label": 2}])
def test_a_pair_whose_metadata_cannot_be_read_is_named_with_its_line(tmp_path: Path, metadata: object) -> None:
    with pytest.raises(DataError, match=r"line 2: .*metadata"):
        pairs_of(dataset_of(tmp_path, {"split": "test"}, metadata), "test")


def test_prompts_that_the_reward_model_learned_from_are_not_held_out_whatever_the_dataset_calls_them(
    tmp_path: Path,
) -> None:
    write(tmp_path / "prompts.jsonl", [{"prompt": f"p{i}", "split": "test"} for i in range(6)])
    model = tmp_path / "model"
    model.mkdir()
    assert learned_prompts(model) == set()
    sides = [("p0", "train"), ("p1", "validation"), ("p2", "test"), ("elsewhere", "train")]
    write(model / "prompts.jsonl", [{"prompt": prompt, "split": split} for prompt, split in sides])
    learned = learned_prompts(model)
    assert learned == {"p0", "p1", "elsewhere"}
    assert set(held_out_prompts(tmp_path, None, learned=learned, limit=9, seed=0)) == {"p2", "p3", "p4", "p5"}
    file = write(tmp_path / "asked.jsonl", [{"prompt": prompt} for prompt in ("elsewhere", "p0", "new", "newer")])
    assert set(held_out_prompts(tmp_path, file, learned=learned, limit=9, seed=0)) == {"new", "newer"}
