"""Which judgements make a pair, which never do, and how much a busy rater counts."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preceptor.prepare.pairs import Judgement, Pair, cap_raters, make_pairs, make_unpaired

PROMPT = "Which drug for [NAME_1]?"


def compared(outcome: str, **values: Any) -> Judgement:
    fields = {
        "kind": "preference",
        "source_id": "p1",
        "prompt": PROMPT,
        "response_a": "A",
        "response_b": "B",
        "rater": "r1",
    }
    return Judgement(**{**fields, "outcome": outcome, **values})


def rated(answer: str, rating: int, **values: Any) -> Judgement:
    fields = {"kind": "feedback", "source_id": f"f_{answer}", "prompt": PROMPT, "response_a": answer, "rater": "r1"}
    return Judgement(**{**fields, "instrument": "stars", "rating": rating, **values})


def thumbed(answer: str, thumb: int, **values: Any) -> Judgement:
    return replace(rated(answer, 1, **values), instrument="thumbs", rating=None, thumb=thumb)


def chosen(pairs: list[Pair]) -> list[tuple[str, str]]:
    return [(pair.chosen, pair.rejected) for pair in pairs]


def test_a_choice_makes_a_pair_whichever_side_it_was() -> None:
    assert chosen(make_pairs([compared("a")])) == [("A", "B")]
    assert chosen(make_pairs([compared("b")])) == [("B", "A")]


@pytest.mark.parametrize("outcome", ["tie", "both_bad", "cannot_judge", "skipped"])
def test_no_choice_makes_no_pair(outcome: str) -> None:
    assert make_pairs([compared(outcome)]) == []


def test_strength_becomes_margin() -> None:
    margins = [make_pairs([compared("a", strength=strength)])[0].margin for strength in (None, 1, 2)]
    assert margins == sorted(margins)
    assert margins[0] == 0
    assert margins[2] == 1


def test_neither_is_acceptable_makes_two_false_labels() -> None:
    labels = make_unpaired([compared("both_bad")])
    assert [(item.completion, item.label) for item in labels] == [("A", False), ("B", False)]
    assert make_unpaired([compared("tie"), compared("cannot_judge")]) == []


def test_stars_two_apart_make_a_pair_with_both_sources() -> None:
    (pair,) = make_pairs([rated("good", 5), rated("poor", 3)])
    assert (pair.chosen, pair.rejected) == ("good", "poor")
    assert {source[1] for source in pair.sources} == {"f_good", "f_poor"}
    assert pair.margin == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    "second",
    [
        rated("poor", 4),
        rated("poor", 1, prompt="Another question?"),
        rated("poor", 1, rater="r2"),
        rated("good", 1),
    ],
    ids=["one star apart", "another prompt", "another rater", "the same answer"],
)
def test_other_stars_make_no_pair(second: Judgement) -> None:
    assert make_pairs([rated("good", 5), second]) == []


def test_stars_without_a_rater_make_no_pair() -> None:
    assert make_pairs([rated("good", 5, rater=None), rated("poor", 1, rater=None)]) == []


def test_the_same_prompt_written_differently_is_the_same_prompt() -> None:
    assert len(make_pairs([rated("good", 5), rated("poor", 1, prompt="  which drug for  [name_1]? ")])) == 1


def test_the_last_rating_of_an_answer_counts() -> None:
    pairs = make_pairs([rated("x", 5), rated("y", 1), rated("x", 1, source_id="f_x2"), rated("y", 4, source_id="f_y2")])
    assert chosen(pairs) == [("y", "x")]


def test_thumbs_up_and_down_make_a_pair_and_never_mix_with_stars() -> None:
    assert chosen(make_pairs([thumbed("good", 1), thumbed("poor", -1)])) == [("good", "poor")]
    assert make_pairs([thumbed("good", 1), rated("poor", 1)]) == []
    assert [(item.completion, item.label) for item in make_unpaired([thumbed("good", 1), thumbed("poor", -1)])] == [
        ("good", True),
        ("poor", False),
    ]


def test_a_comparison_outranks_the_stars_of_the_same_rater() -> None:
    pairs = make_pairs([rated("A", 1), rated("B", 5), compared("a")])
    assert chosen(pairs) == [("A", "B")]
    assert pairs[0].instrument == "comparison"


@pytest.mark.parametrize(
    ("judgement", "expected"),
    [
        (rated("poor", 2, correction="better"), [("better", "poor")]),
        (rated("good", 5, correction="better"), [("better", "good")]),
        (rated("middling", 3, correction="better"), [("better", "middling")]),
        (thumbed("poor", -1, correction="better"), [("better", "poor")]),
        (thumbed("good", 1, correction="better"), [("better", "good")]),
        (replace(rated("x", 1, correction="better"), instrument="correction", rating=None), [("better", "x")]),
        (compared("both_bad", correction="better"), [("better", "A"), ("better", "B")]),
        (compared("a", correction="better"), [("A", "B"), ("better", "B")]),
        (compared("cannot_judge", correction="better"), []),
        (compared("tie", correction="better"), []),
        (rated("poor", 1, correction="poor "), []),
        (rated("Give 5 mg", 1, correction="give  5\u00a0mg"), []),
    ],
)
def test_a_correction_beats_the_answer_it_came_with(judgement: Judgement, expected: list[tuple[str, str]]) -> None:
    assert chosen(make_pairs([judgement])) == expected


def test_an_answer_that_anyone_flagged_as_harmful_is_never_chosen() -> None:
    flag = rated("A", 1, harm_a=2, rater="r9", source_id="f_flag")
    assert make_pairs([compared("a"), flag]) == []
    assert chosen(make_pairs([compared("b"), flag])) == [("B", "A")]
    assert make_pairs([compared("a", harm_a=1)]) == []
    assert chosen(make_pairs([compared("a", harm_b=3)])) == [("A", "B")]
    assert make_unpaired([compared("a", harm_a=1)])[0].label is False
    assert make_unpaired([thumbed("A", 1), flag])[0].label is False


def test_the_same_verdict_twice_is_one_pair_with_both_sources() -> None:
    (pair,) = make_pairs([compared("a"), compared("a", source_id="p2", strength=2)])
    assert len(pair.sources) == 2
    assert pair.margin == 1


def test_equal_answers_make_no_pair() -> None:
    assert make_pairs([compared("a", response_b="A ")]) == []


def pairs_of(*counts: int) -> list[Pair]:
    base = make_pairs([compared("a")])[0]
    return [
        replace(base, rater=f"r{rater}", prompt=f"{rater}-{number}")
        for rater, count in enumerate(counts)
        for number in range(count)
    ]


@given(st.lists(st.integers(1, 60), min_size=1, max_size=40), st.sampled_from([0.05, 0.2, 0.5]))
def test_no_rater_has_more_than_the_share(counts: list[int], share: float) -> None:
    weighted = cap_raters(pairs_of(*counts), share=share)
    by_rater: Counter[str | None] = Counter()
    for pair in weighted:
        assert 0 < pair.weight <= 1
        by_rater[pair.rater] += pair.weight
    limit = max(share, 2 / len(counts))
    if limit < 1:
        assert max(by_rater.values()) <= limit * sum(by_rater.values()) * (1 + 1e-9)
    else:
        assert all(pair.weight == 1 for pair in weighted)


def test_raters_under_the_limit_keep_their_weight() -> None:
    weighted = cap_raters(pairs_of(100, *[4] * 39), share=0.05)
    light = [pair.weight for pair in weighted if pair.rater != "r0"]
    heavy = [pair.weight for pair in weighted if pair.rater == "r0"]
    assert set(light) == {1.0}
    assert sum(heavy) == pytest.approx(0.05 * (sum(heavy) + sum(light)))
