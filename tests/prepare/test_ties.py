"""A tie says that two answers are worth the same: apart from the pairs, and only where nobody says otherwise."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from preceptor.errors import DataError
from preceptor.files.jsonl import jsonl_bytes
from preceptor.prepare.dataset import prepare
from preceptor.prepare.pairs import Judgement
from preceptor.prepare.ties import make_ties

PROMPT = "Which drug for [NAME_1]?"


def compared(outcome: str, **values: Any) -> Judgement:
    fields = {"source_id": "p1", "prompt": PROMPT, "response_a": "A", "response_b": "B", "rater": "r1"}
    return Judgement(kind="preference", outcome=outcome, **{**fields, **values})


def rated(answer: str, **values: Any) -> Judgement:
    fields = {"kind": "feedback", "source_id": f"f_{answer}", "prompt": PROMPT, "response_a": answer, "rater": "r1"}
    return Judgement(**{**fields, "instrument": "stars", "rating": 2, **values})


def test_a_tie_makes_one_row_in_which_neither_answer_is_better() -> None:
    (tie,) = make_ties([compared("tie", agent_name="triage", specialty="cardiology", strength=2)])
    assert (tie.prompt, {tie.chosen, tie.rejected}) == (PROMPT, {"A", "B"})
    assert (tie.label, tie.margin, tie.weight) == (0.5, 0.0, 1.0)
    assert (tie.rater, tie.agent_name, tie.specialty) == ("r1", "triage", "cardiology")
    assert tie.sources == (("preference", "p1", 1),)


@pytest.mark.parametrize("outcome", ["a", "b", "both_bad", "cannot_judge", "skipped"])
def test_no_other_outcome_makes_a_tie(outcome: str) -> None:
    assert make_ties([compared(outcome)]) == []


def test_equal_answers_make_no_tie() -> None:
    assert make_ties([compared("tie", response_b="a ")]) == []


@pytest.mark.parametrize(
    "flag",
    [
        compared("a", source_id="p2", rater="r9", response_b="C", harm_a=1),
        rated("B", source_id="f2", rater="r9", harm_a=2, prompt=f"  {PROMPT} "),
    ],
    ids=["in another comparison", "in a rating of the other answer"],
)
def test_an_answer_that_anyone_flagged_as_harmful_is_as_good_as_none(flag: Judgement) -> None:
    assert make_ties([compared("tie"), flag]) == []
    assert make_ties([compared("tie", harm_b=1)]) == []


@pytest.mark.parametrize(
    "verdict",
    [
        compared("a", source_id="p2"),
        compared("b", source_id="p2", response_a="B", response_b=" A"),
        compared("both_bad", source_id="p2"),
        rated("A", correction="B"),
    ],
    ids=["preferred", "preferred the other way round", "accepted neither", "corrected"],
)
def test_a_verdict_of_the_same_rater_outranks_a_tie(verdict: Judgement) -> None:
    assert make_ties([compared("tie"), verdict]) == make_ties([verdict, compared("tie")]) == []
    assert len(make_ties([compared("tie"), compared("a", source_id="p2", rater="r2")])) == 1
    assert len(make_ties([compared("tie"), compared("a", source_id="p2", response_b="C")])) == 1


def test_the_last_tie_of_a_rater_on_two_answers_counts() -> None:
    again = compared("tie", source_id="p2", response_a="B", response_b="A", prompt=f" {PROMPT.upper()}")
    (tie,) = make_ties([compared("tie"), again])
    assert tie.sources == (again.source,)
    assert len(make_ties([compared("tie"), compared("tie", source_id="p3", rater="r2")])) == 2


def judgements(*, ties: int) -> list[Judgement]:
    """Preferences on forty prompts, and ties of a busy and a hundred other raters on some of them and on others."""
    decided = [compared("a", source_id=f"p{n}", prompt=f"Question {n}?", rater=f"r{n % 10}") for n in range(40)]
    tied = [
        compared(
            "tie", source_id=f"t{n}", prompt=f"Question {n % 60}?", rater="busy" if n % 2 else f"s{n}", response_b="C"
        )
        for n in range(ties)
    ]
    return [entry for both in zip(tied, decided, strict=False) for entry in both] + tied[40:] + decided[ties:]


def test_pairs_are_the_same_bytes_with_and_without_ties_among_the_judgements() -> None:
    with_ties, without = prepare(judgements(ties=120)), prepare(judgements(ties=0))
    assert jsonl_bytes(with_ties.pair_rows()) == jsonl_bytes(without.pair_rows())
    assert "label" not in with_ties.pair_rows()[0]["metadata"]
    assert (with_ties.counts()["ties"], without.counts()["ties"]) == (len(with_ties.ties), 0)
    assert {**with_ties.counts(), **dict.fromkeys(("ties", "judgements", "prompts"))} == {
        **without.counts(), **dict.fromkeys(("ties", "judgements", "prompts")),
    }  # fmt: skip


def test_ties_lie_in_the_split_of_their_prompt_and_a_busy_rater_is_weighed_down_among_them() -> None:
    prepared = prepare(judgements(ties=120))
    splits = {row["prompt"]: row["split"] for row in prepared.prompt_rows()}
    rows = prepared.tie_rows()
    assert len(splits) == 60
    assert all(row["metadata"]["split"] == splits[row["prompt"]] for row in rows)
    assert {row["metadata"]["label"] for row in rows} == {0.5}
    assert set(splits.values()) == {"train", "validation", "test"}
    by_rater: Counter[str] = Counter()
    for row in rows:
        by_rater[row["metadata"]["rater"]] += row["metadata"]["weight"]
    assert by_rater["busy"] / sum(by_rater.values()) == pytest.approx(0.05, abs=1e-3)


def test_a_dataset_names_the_judgements_of_its_ties() -> None:
    members = {row["source_id"]: row for row in prepare(judgements(ties=30)).members()}
    assert {f"t{n}" for n in range(30)} <= set(members)
    assert members["t0"]["weight"] > 0


def test_ties_alone_are_no_dataset() -> None:
    ties = [compared("tie", source_id=f"p{n}", prompt=f"Question {n}?") for n in range(9)]
    with pytest.raises(DataError, match="No pairs come out of 9 judgements: there are 9 tie"):
        prepare(ties)
