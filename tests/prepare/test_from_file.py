"""A JSONL file of feedback, preferences or pairs becomes a clean dataset, or one sentence that names file and line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from preceptor.errors import DataError, InputError
from preceptor.prepare.from_file import prepare_file, prepare_preference_dataset


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def feedback(number: int, rating: int | None, **values: Any) -> dict[str, Any]:
    return {
        "feedback_id": f"fb_{number}_{rating}", "session_id": "sess_1", "agent_name": "prescription_agent",
        "user_query": f"Question {number} for Wilhelmina Achterberg?", "agent_response": f"Answer rated {rating}",
        "rating": rating, "feedback_type": None, "clinician_id": 123, "timestamp": "2025-01-17T12:00:00Z", **values,
    }  # fmt: skip


def pair(number: int, **values: Any) -> dict[str, Any]:
    return {"prompt": f"Question {number}?", "chosen": "See Dr. Oyelaran.", "rejected": f"No {number}", **values}


def test_feedback_rows_become_pairs(tmp_path: Path) -> None:
    rows = [feedback(number, rating) for number in range(6) for rating in (5, 2)]
    dataset = prepare_preference_dataset(write(tmp_path / "feedback.jsonl", rows))
    assert dataset["train"].column_names == ["prompt", "chosen", "rejected", "metadata"]
    assert sum(len(split) for split in dataset.values()) == 6
    assert len(dataset["test"]) >= 1
    row = dataset["train"][0]
    assert row["prompt"].endswith("for [NAME_1]?")
    assert (row["chosen"], row["rejected"]) == ("Answer rated 5", "Answer rated 2")
    assert row["metadata"]["rater"] == "rater_1"


def test_preference_rows_become_pairs(tmp_path: Path) -> None:
    rows = [
        {
            "preference_id": f"p{n}",
            "prompt": f"Question {n}?",
            "response_a": "yes",
            "response_b": "no",
            "preferred": "b",
        }
        for n in range(4)
    ]
    rows.append({**rows[0], "prompt": "Question 9?", "preferred": "tie"})
    prepared = prepare_file(write(tmp_path / "preferences.jsonl", rows))
    assert [(item.chosen, item.rejected) for item, _ in prepared.pairs] == [("no", "yes")] * 4
    assert [(item.prompt, item.label) for item, _ in prepared.ties] == [("Question 9?", 0.5)]


def test_a_correction_of_a_well_rated_answer_is_preferred_to_it(tmp_path: Path) -> None:
    rows = [feedback(number, 5, correction="Ask about allergies first.") for number in range(4)]
    prepared = prepare_file(write(tmp_path / "feedback.jsonl", rows))
    assert {(item.chosen, item.rejected) for item, _ in prepared.pairs} == {
        ("Ask about allergies first.", "Answer rated 5")
    }


def test_ready_pairs_are_cleaned_and_keep_a_given_split(tmp_path: Path) -> None:
    splits = ["train", "train", "validation", "test"]
    rows = [pair(n, metadata={"split": split, "margin": 0.5, "note": "Achterberg"}) for n, split in enumerate(splits)]
    dataset = prepare_preference_dataset(write(tmp_path / "pairs.jsonl", rows))
    assert {name: len(split) for name, split in dataset.items()} == {"train": 2, "validation": 1, "test": 1}
    row = dataset["test"][0]
    assert row["chosen"] == "See [NAME_1]."
    assert row["metadata"]["margin"] == 0.5
    assert "Achterberg" not in json.dumps(row)


def test_a_prepared_file_prepares_to_itself(tmp_path: Path) -> None:
    first = prepare_file(write(tmp_path / "pairs.jsonl", [pair(n) for n in range(6)])).pair_rows()
    again = prepare_file(write(tmp_path / "again.jsonl", first)).pair_rows()
    assert [(r["prompt"], r["chosen"], r["metadata"]["split"]) for r in again] == [
        (r["prompt"], r["chosen"], r["metadata"]["split"]) for r in first
    ]


def tie(number: int, **values: Any) -> dict[str, Any]:
    return pair(number, chosen=f"Wait {number}", metadata={"label": 0.5, **values})


def test_ready_ties_stay_ties_and_lie_with_the_pairs_of_their_prompt(tmp_path: Path) -> None:
    splits = ["train", "train", "test"]
    rows = [pair(n, metadata={"split": split}) for n, split in enumerate(splits)]
    rows += [tie(2, split="train"), tie(8, split="test"), tie(9)]
    judged = {"prompt": "Question 7?", "response_a": "yes", "response_b": "no", "preferred": "tie"}
    prepared = prepare_file(write(tmp_path / "pairs.jsonl", [*rows, judged]))
    assert [(item.prompt, split) for item, split in prepared.pairs] == [
        (f"Question {n}?", split) for n, split in enumerate(splits)
    ]
    assert {item.prompt: split for item, split in prepared.ties} == {
        "Question 2?": "test", "Question 8?": "test", "Question 9?": "train", "Question 7?": "train",
    }  # fmt: skip
    assert dict(prepared.prompts) == {item.prompt: split for item, split in (*prepared.pairs, *prepared.ties)}
    assert prepared.judgements == 7


def test_a_ready_pair_keeps_how_sure_its_label_is_and_has_the_better_answer_as_chosen(tmp_path: Path) -> None:
    rows = [pair(n, metadata={"label": label}) for n, label in enumerate((1, 0.75, 0.25, None))]
    made = prepare_file(write(tmp_path / "pairs.jsonl", rows)).pair_rows()
    found = {row["prompt"]: (row["chosen"][:2], row["metadata"].get("label", 1)) for row in made}
    assert found == {
        "Question 0?": ("Se", 1), "Question 1?": ("Se", 0.75), "Question 2?": ("No", 0.75), "Question 3?": ("Se", 1),
    }  # fmt: skip


def test_a_file_of_ties_alone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"ties\.jsonl: every row is a tie"):
        prepare_file(write(tmp_path / "ties.jsonl", [tie(n) for n in range(4)]))


def test_a_split_that_parts_one_prompt_is_made_anew(tmp_path: Path) -> None:
    rows = [pair(n, metadata={"split": split}) for n in (1, 2) for split in ("train", "test")]
    rows = [{**row, "rejected": f"{row['rejected']} {place}"} for place, row in enumerate(rows)]
    prepared = prepare_file(write(tmp_path / "pairs.jsonl", rows))
    by_prompt: dict[str, set[str]] = {}
    for item, split in prepared.pairs:
        by_prompt.setdefault(item.prompt, set()).add(split)
    assert all(len(found) == 1 for found in by_prompt.values())


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        ("", InputError, "empty"),
        (json.dumps(pair(1)) + "\n" + '{"prompt": "Question', InputError, "line 2 .*half-written"),
        (json.dumps({"prompt": "q", "rejected": "r"}) + "\n", InputError, "line 1: the field 'chosen' is missing"),
        (json.dumps({"prompt": "q"}) + "\n", InputError, "line 1: the field 'chosen' is missing"),
        (json.dumps(pair(1, chosen=" ")) + "\n", InputError, "line 1: the field 'chosen' is empty"),
        (json.dumps(pair(1, metadata=[])) + "\n", InputError, "line 1: the field 'metadata'"),
        (json.dumps(pair(1, metadata={"split": "dev"})) + "\n", InputError, "line 1: metadata.split"),
        (json.dumps(pair(1, metadata={"label": 2})) + "\n", InputError, "line 1: metadata.label"),
        (json.dumps(feedback(1, 7)) + "\n", InputError, "line 1: 'rating'"),
        (
            json.dumps(feedback(1, 5, agent_response=3)) + "\n",
            InputError,
            "line 1: the field 'agent_response' is not text",
        ),
        (json.dumps({"prompt": "q", "response_a": "a", "response_b": "b"}) + "\n", InputError, "line 1: 'preferred'"),
        (json.dumps(pair(1)) + "\n", DataError, r"bad\.jsonl, line 1: .*1 prompt only"),
        (json.dumps(feedback(1, 5)) + "\n", DataError, r"bad\.jsonl, line 1: No pairs come out of 1 judgements"),
        (json.dumps(pair(1, chosen="No 1")) + "\n", DataError, r"bad\.jsonl.*same text"),
    ],
)
def test_a_bad_file_is_one_sentence_with_file_and_line(
    tmp_path: Path, content: str, error: type[Exception], message: str
) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(content)
    with pytest.raises(error, match=message) as caught:
        prepare_preference_dataset(path)
    assert "bad.jsonl" in str(caught.value)
    assert "Wilhelmina" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no file"):
        prepare_preference_dataset(tmp_path / "none.jsonl")
