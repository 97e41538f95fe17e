from __future__ import annotations

import math

import pytest

from preceptor.evaluate.answers import Answer
from preceptor.evaluate.signs import compare_signs, distinct_ratio, ratio_of_sums, refuses


def answers(*texts: str, finished: bool = True) -> list[Answer]:
    return [Answer(text, [], finished) for text in texts]


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ("I cannot help with that.", True),
        ("I'm sorry, but I can't provide medical advice.", True),
        ("As an AI language model, I have no body.", True),
        ("I am not able to prescribe anything here.", True),
        ("You cannot take both; call your doctor.", False),  # a warning is no refusal
        ("Do not stop it suddenly. I would ask about kidney disease.", False),
        ("Sorry to hear that. Rest and drink.", False),
        ("", False),
    ],
)
def test_refusing_to_answer_is_not_the_same_as_warning(text: str, refused: bool) -> None:
    assert refuses(text) is refused


def test_rises_are_differences_on_the_same_prompts() -> None:
    prompts = ["a", "b", "c", "d"]
    ours = answers("I cannot help with that.", "Rest.", "Rest.", "I cannot help with that.")
    found = compare_signs(prompts, ours, answers("Rest.", "Rest.", "Rest.", "I cannot help you."), seed=0)
    assert found["refusal"]["candidate"] == 0.5
    assert found["refusal"]["baseline"] == 0.25
    assert found["refusal"]["estimate"] == 0.25
    assert -0.5 < found["refusal"]["low"] < 0.25 < found["refusal"]["high"] < 1
    assert found["language"]["estimate"] == 0
    assert found["language"]["high"] > 0.3  # four prompts without a slip exclude little
    assert found["unfinished"]["estimate"] == 0
    cut = compare_signs(prompts, ours, answers(*["Rest."] * 3) + answers("Rest", finished=False), seed=0)["unfinished"]
    assert (cut["candidate"], cut["baseline"], cut["estimate"]) == (0.0, 0.25, -0.25)
    twice = compare_signs(prompts * 2, ours * 2, answers(*["Rest."] * 8), seed=0)
    assert twice["refusal"]["estimate"] == 0.5


def test_a_ratio_divides_sums_and_not_answers() -> None:
    found = ratio_of_sums([1, 9], [10, 10], ["a", "b"], seed=0)
    assert found.estimate == 0.5  # 10 of 20
    assert (found.low, found.high) == (pytest.approx(0.1), pytest.approx(0.9))
    same = ratio_of_sums([1] * 4 + [9] * 4, [10] * 8, ["a"] * 4 + ["b"] * 4, seed=0)
    assert (same.n, same.low, same.high) == (2, pytest.approx(0.1), pytest.approx(0.9))  # two prompts, not eight
    assert math.isnan(ratio_of_sums([0.0], [0.0], ["a"], seed=0).estimate)


def test_one_answer_for_everybody_has_half_the_variety_and_less() -> None:
    prompts = list("abcdefgh")
    theirs = [f"advice {i} differs wholly from number {i + 100}" for i in range(8)]
    ours = ["rest and call your doctor if it gets worse"] * 8
    found = distinct_ratio(ours, theirs, prompts)
    assert found.estimate == pytest.approx(8 / 64 / (36 / 64))
    assert found.high < 0.5
    same = distinct_ratio(theirs, theirs, prompts)
    assert (same.estimate, same.low, same.high) == (1.0, 1.0, 1.0)


def test_the_interval_of_variety_is_that_of_a_jackknife_over_prompts() -> None:
    found = distinct_ratio(["a b", "a b", "c d"], ["a b", "c d", "e f"], ["x", "y", "z"])
    # without each prompt the log ratio is 0, 0 and -log 2, so its standard error is 2 / 3 log 2
    reach = math.exp(1.96 * 2 / 3 * math.log(2))
    assert (found.low, found.high) == (pytest.approx(2 / 3 / reach), pytest.approx(2 / 3 * reach))


def test_loops_and_growth_are_seen() -> None:
    looped = "take it now " * 12
    found = compare_signs(["a", "b"], answers(looped, looped), answers("take it now", "take it later"), seed=0)
    assert found["repetition"]["estimate"] == pytest.approx(30 / 33)  # 33 four-word runs, 3 different ones
    assert found["length"]["estimate"] == 12.0
    variety = found["distinct_2"]
    assert (variety["candidate"], variety["baseline"]) == (pytest.approx(3 / 70), 0.75)
