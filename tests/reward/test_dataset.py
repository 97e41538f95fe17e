"""What a dataset may look like, and what is said when it may not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from preceptor.errors import DataError, InputError
from preceptor.reward.dataset import read_pairs, split_by_prompt


def row(prompt: str = "p", chosen: str = "good", rejected: str = "bad", **metadata: Any) -> dict[str, Any]:
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected, "metadata": metadata}


def test_a_given_split_is_respected(write_rows: Any) -> None:
    rows = [row("a", split="train"), row("b", split="validation"), row("c", split="test")]
    data = read_pairs(write_rows(rows))
    assert [(pair.prompt, pair.split) for pair in data.pairs] == [("a", "train"), ("b", "validation"), ("c", "test")]


def test_without_splits_all_pairs_of_a_prompt_stay_together_and_order_does_not_matter(write_rows: Any) -> None:
    rows = [row(f"p{i % 20}", chosen=f"good {i}") for i in range(60)]
    first = {(p.prompt, p.chosen): p.split for p in read_pairs(write_rows(rows)).pairs}
    second = {(p.prompt, p.chosen): p.split for p in read_pairs(write_rows(rows[::-1])).pairs}
    assert first == second
    assert all(len({s for (q, _), s in first.items() if q == f"p{i}"}) == 1 for i in range(20))
    assert set(first.values()) == {"train", "validation", "test"}


def test_splits_that_are_given_in_part_or_without_a_test_part_are_not_used(write_rows: Any) -> None:
    prompts = [f"p{i}" for i in range(12)]
    expected = split_by_prompt(prompts, seed=42)
    everywhere = [row(prompt, split="train") for prompt in prompts]
    in_part = [row("p0", split="train"), row("p1", split="test"), *map(row, prompts[2:])]
    for rows in (everywhere, in_part):
        assert {pair.prompt: pair.split for pair in read_pairs(write_rows(rows)).pairs} == expected


def test_few_prompts_have_a_test_part_and_no_validation_part() -> None:
    assert sorted(split_by_prompt([f"p{i}" for i in range(9)], seed=0).values()) == ["test"] * 2 + ["train"] * 7
    assert sorted(split_by_prompt(["p", "q"], seed=0).values()) == ["test", "train"]
    assert list(split_by_prompt([f"p{i}" for i in range(10)], seed=0).values()).count("validation") == 1


def test_the_order_of_the_rows_is_not_that_of_the_pairs(write_rows: Any) -> None:
    rows = [row(f"p{i % 4}", chosen=f"good {i}", rater=f"r{i % 2}") for i in range(12)]
    assert read_pairs(write_rows(rows)).pairs == read_pairs(write_rows(rows[::-1])).pairs


def test_a_label_below_a_half_is_the_preference_the_other_way_round(write_rows: Any) -> None:
    rows = [row("a", split="train", label=0.25), row("b", split="test", label=0.75), row("c", split="test")]
    found = [(pair.chosen, pair.rejected, pair.label) for pair in read_pairs(write_rows(rows)).pairs]
    assert found == [("bad", "good", 0.75), ("good", "bad", 0.75), ("good", "bad", 1.0)]


def test_another_seed_splits_otherwise() -> None:
    prompts = [f"p{i}" for i in range(40)]
    assert split_by_prompt(prompts, seed=1) != split_by_prompt(prompts, seed=2)


def test_a_training_row_whose_prompt_is_held_out_is_left_out(write_rows: Any) -> None:
    rows = [row("a", split="train"), row("b", split="train"), row("b", chosen="other", split="test")]
    data = read_pairs(write_rows(rows))
    assert [pair.prompt for pair in data.of("train")] == ["a"]
    assert data.leaked == 1


def test_a_prompt_of_validation_pairs_teaches_nothing(write_rows: Any) -> None:
    rows = [row("a", split="train"), row("b", split="train"), row("b", chosen="other", split="validation")]
    data = read_pairs(write_rows([*rows, row("c", split="test")]))
    assert [(pair.prompt, pair.split) for pair in data.pairs] == [("a", "train"), ("b", "validation"), ("c", "test")]
    assert data.leaked == 1
    assert dict(data.prompts) == {"a": "train", "b": "validation", "c": "test"}
    data = read_pairs(write_rows([*rows, row("b", chosen="third", split="test")]))  # nor one of test pairs by a look
    assert [(pair.prompt, pair.split) for pair in data.pairs] == [("a", "train"), ("b", "test")]
    assert data.leaked == 2


def test_a_tie_asks_for_no_margin(write_rows: Any) -> None:
    file = write_rows([*PAIRS, row("a", "one", "two", split="train", label=0.5, margin=0.7)])
    write_rows([tie("a", margin=0.3)], "preferences.ties.jsonl")
    assert [pair.margin for pair in read_pairs(file).pairs if pair.is_tie] == [0.0, 0.0]


def test_rows_with_one_text_twice_are_left_out_and_counted(write_rows: Any) -> None:
    data = read_pairs(write_rows([row("a"), row("b"), row("c", chosen="same", rejected="same")]))
    assert (len(data.pairs), data.identical) == (2, 1)


def test_a_dataset_folder_brings_its_prompts(tmp_path: Path, write_rows: Any) -> None:
    write_rows([row("a", split="train"), row("b", split="test")])
    listed = [{"prompt": prompt, "split": "train"} for prompt in ("a", "b", "unjudged")]
    write_rows(listed, "prompts.jsonl")
    assert read_pairs(tmp_path).prompts == (("a", "train"), ("b", "test"), ("unjudged", "train"))


PAIRS = [row("a", split="train"), row("b", split="validation"), row("c", split="test")]


def tie(prompt: str, **metadata: Any) -> dict[str, Any]:
    return row(prompt, "one", "other", label=0.5, **metadata)


@pytest.mark.parametrize(
    ("pairs", "ties", "folder"),
    [("preferences.jsonl", "ties.jsonl", True), ("mine.jsonl", "mine.ties.jsonl", False)],
    ids=["folder", "file"],
)
def test_ties_are_read_from_beside_the_pairs(
    tmp_path: Path, write_rows: Any, pairs: str, ties: str, folder: bool
) -> None:
    file = write_rows(PAIRS, pairs)
    path = tmp_path if folder else file
    assert read_pairs(path).of("train", "validation", "test") == list(read_pairs(file).pairs)
    own = [tie("d", split="test"), tie("e"), row("e", "same", "same", label=0.5)]
    write_rows([tie("b", split="train", rater="r"), tie("c", split="train"), *own], ties)
    data = read_pairs(path)
    assert {pair.prompt: pair.split for pair in data.pairs if pair.is_tie} == {
        "b": "validation", "c": "test", "d": "test", "e": "train",
    }  # fmt: skip
    assert [pair.prompt for pair in data.pairs if not pair.is_tie] == ["a", "b", "c"]
    assert (data.identical, data.leaked) == (1, 0)
    assert dict(data.prompts)["d"] == "test"


def test_ties_change_no_split_that_pairs_are_given_here(write_rows: Any) -> None:
    file = write_rows([row(f"p{n}") for n in range(20)])
    before = read_pairs(file)
    write_rows([tie(f"p{n}") for n in range(30)], "preferences.ties.jsonl")
    after = read_pairs(file)
    assert [pair for pair in after.pairs if not pair.is_tie] == list(before.pairs)
    splits = {pair.prompt: pair.split for pair in before.pairs}
    assert all(pair.split == splits.get(pair.prompt, "train") for pair in after.pairs if pair.is_tie)
    assert sum(pair.is_tie for pair in after.pairs) == 30


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (row("a"), "line 2: metadata.label must be 0.5 in a file of ties; a preference belongs in"),
        (row("a", label=1), "line 2: metadata.label must be 0.5"),
        ({"prompt": "a", "rejected": "r"}, "line 2: the field 'chosen' is missing"),
    ],
    ids=["no label", "a preference", "a field is missing"],
)
def test_a_file_of_ties_holds_ties_only(write_rows: Any, wrong: dict[str, Any], said: str) -> None:
    file = write_rows(PAIRS)
    write_rows([tie("a"), wrong], "preferences.ties.jsonl")
    with pytest.raises(InputError, match=r"preferences\.ties\.jsonl") as error:
        read_pairs(file)
    assert said in error.value.message


@pytest.mark.parametrize(("split", "said"), [("train", "learned from are ties"), ("test", "measured by are ties")])
def test_ties_alone_neither_teach_nor_measure(write_rows: Any, split: str, said: str) -> None:
    rows = [(tie if split == own else row)(prompt, split=own) for prompt, own in (("a", "train"), ("b", "test"))]
    with pytest.raises(DataError, match=said):
        read_pairs(write_rows(rows))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "empty"),
        (json.dumps(row()) + "\n" + json.dumps(row())[:25], "line 2"),
        (json.dumps({"prompt": "secret words", "rejected": "r"}) + "\n", "line 1: the field 'chosen' is missing"),
        (json.dumps(row(split="dev")) + "\n", "metadata.split"),
        (json.dumps(row(weight=-1)) + "\n", "metadata.weight"),
        (json.dumps(row(weight=True)) + "\n", "metadata.weight"),
        (json.dumps(row(margin=10**400)) + "\n", "metadata.margin"),
        (json.dumps(row(margin=1e300)) + "\n", "metadata.margin"),
        (json.dumps({**row(), "metadata": "x"}) + "\n", "metadata"),
    ],
    ids=["empty", "torn", "no chosen", "split", "weight", "true", "huge integer", "huge number", "metadata"],
)
def test_an_unusable_file_is_named_with_its_line_and_without_its_text(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(content)
    with pytest.raises(InputError) as error:
        read_pairs(path)
    assert said in error.value.message
    assert "pairs.jsonl" in error.value.message
    assert "secret words" not in error.value.message


def test_one_prompt_is_too_little(write_rows: Any) -> None:
    with pytest.raises(DataError, match="at least 2"):
        read_pairs(write_rows([row("a"), row("a", chosen="better")]))


def test_only_identical_answers_are_nothing_to_learn_from(write_rows: Any) -> None:
    with pytest.raises(DataError, match="same text"):
        read_pairs(write_rows([row(str(i), chosen="x", rejected="x") for i in range(3)]))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no\.jsonl"):
        read_pairs(tmp_path / "no.jsonl")
    with pytest.raises(InputError, match=r"preferences\.jsonl"):
        read_pairs(tmp_path)
