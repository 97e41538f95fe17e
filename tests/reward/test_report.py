"""The report's numbers on small cases that can be worked out by hand."""

from __future__ import annotations

import json
import re
from typing import Any

import numpy as np
import pytest

from preceptor.reward.dataset import Pair
from preceptor.reward.page import render_page
from preceptor.reward.report import (
    calibration,
    held_out_report,
    length_direction,
    rater_agreement,
    score_length_correlation,
)


def pairs_of(*lengths: tuple[int, int], rater: str | None = None) -> list[Pair]:
    return [Pair(f"p{i}", "c" * a, "r" * b, rater=rater, agent="one") for i, (a, b) in enumerate(lengths)]


def test_the_report_sets_accuracy_beside_its_baselines() -> None:
    test = pairs_of((5, 2), (6, 3), (1, 4), (2, 9))
    report = held_out_report(
        test,
        chosen=np.array([1.0, 1.0, 1.0, -1.0]),
        rejected=np.zeros(4),
        temperature=1.0,
        train=pairs_of((9, 1), (8, 2), (1, 3)),
        baselines={"untrained": np.array([1.0, 0.0, -1.0, -1.0])},
        seed=0,
    )
    assert report["accuracy"]["estimate"] == 0.75
    assert report["baselines"]["length_only"]["estimate"] == 0.5
    assert report["baselines"]["untrained"]["estimate"] == 0.375  # a tie is half right
    assert report["gain_over"]["length_only"]["estimate"] == 0.25
    assert report["slices"]["length"]["chosen is shorter"]["estimate"] == 0.5
    assert report["slices"]["length"]["chosen is shorter"]["n"] == 2
    assert report["margin"]["mean"] == 0.5
    assert report["notes"]
    json.dumps(report, allow_nan=False)


def test_the_length_rule_is_taken_from_training() -> None:
    assert length_direction(pairs_of((9, 1), (8, 2), (1, 3))) == 1.0
    assert length_direction(pairs_of((1, 9), (2, 8), (3, 1))) == -1.0


def test_calibration_of_a_sure_and_right_model_is_perfect_and_of_a_sure_and_wrong_one_is_not() -> None:
    sure = calibration(np.full(20, 50.0), temperature=1.0)
    assert (sure["ece"], sure["brier"]) == pytest.approx((0.0, 0.0), abs=1e-9)
    wrong = calibration(np.full(20, -50.0), temperature=1.0)
    assert wrong["ece"] == pytest.approx(1.0)
    assert wrong["brier"] == pytest.approx(1.0)


def test_reliability_gives_confidence_and_accuracy_of_each_bin() -> None:
    even, sure = 0.0, float(np.log(8.0))  # sigmoid of log 8 is 8 / 9
    found = calibration(np.array([even, even, sure, -sure]), temperature=1.0)
    assert found["bins"] == [
        {"pairs": 2, "confidence": 0.5, "accuracy": 0.5},
        {"pairs": 2, "confidence": pytest.approx(8 / 9), "accuracy": 0.5},
    ]
    assert found["ece"] == pytest.approx((8 / 9 - 0.5) / 2)
    cooled = calibration(2 * np.array([even, even, even, sure, -sure]), temperature=2.0)
    assert cooled["bins"][1]["confidence"] == pytest.approx(8 / 9)
    assert cooled["ece"] == pytest.approx((8 / 9 - 0.5) * 2 / 5)


def test_there_are_ten_bins_between_a_coin_and_certainty() -> None:
    chances = np.array([0.52, 0.57, 0.99, 1 - 1e-15])
    found = calibration(np.log(chances / (1 - chances)), temperature=1.0)
    assert [one["pairs"] for one in found["bins"]] == [1, 1, 2]


def test_the_correlation_of_score_and_length_is_over_chosen_and_rejected_answers() -> None:
    pairs = pairs_of((2, 1), (3, 1), (4, 1))
    scores = np.array([1.0, 2.0, 3.0])
    assert score_length_correlation(pairs, scores, np.zeros(3)) == pytest.approx(1.0)
    assert score_length_correlation(pairs_of((2, 1), (2, 1)), np.ones(2), np.zeros(2)) == pytest.approx(1.0)
    assert score_length_correlation(pairs_of((2, 2), (2, 2)), np.ones(2), np.zeros(2)) is None


def _report(test: list[Pair], chosen: list[float], rejected: list[float]) -> dict[str, Any]:
    return held_out_report(
        test,
        chosen=np.array(chosen),
        rejected=np.array(rejected),
        temperature=1.0,
        train=pairs_of((2, 1)),
        baselines={},
        seed=0,
    )


def test_ties_are_counted_and_judge_nothing() -> None:
    test = [Pair("p1", "a", "b"), Pair("p2", "c", "d"), Pair("p3", "e", "f", label=0.5)]
    report = _report(test, [1.0, -1.0, -5.0], [0.0, 0.0, 0.0])
    assert report["held_out"] == {"pairs": 2, "prompts": 2, "ties": 1}
    assert report["accuracy"]["estimate"] == 0.5


def test_ties_of_training_say_nothing_of_length_or_agreement() -> None:
    ties = [Pair(f"t{i}", "c" * 9, "r", rater="x", label=0.5) for i in range(9)]
    assert length_direction([*pairs_of((1, 9), (2, 8)), *ties]) == -1.0
    same = [Pair("p", "a", "b", rater="x"), Pair("p", "a", "b", rater="y")]
    assert rater_agreement(same, []) == rater_agreement([*same, Pair("p", "b", "a", rater="z", label=0.5)], ties)


def test_a_constant_reward_is_called_by_its_name() -> None:
    report = _report(pairs_of((3, 1), (1, 3)), [0.7, 0.7], [0.7, 0.7])
    assert "the same score" in report["notes"][0]
    assert report["accuracy"]["estimate"] == 0.5
    assert "the same score" not in " ".join(_report(pairs_of((3, 1), (1, 3)), [0.7, 0.6], [0.7, 0.7])["notes"])


def test_slices_by_length_are_apart() -> None:
    found = _report(pairs_of((3, 1), (1, 3), (1, 4), (2, 2)), [1.0, -1.0, -1.0, 1.0], [0.0] * 4)["slices"]["length"]
    assert {name: (one["pairs"], one["estimate"]) for name, one in found.items()} == {
        "chosen is longer": (1, 1.0),
        "chosen is shorter": (2, 0.0),
        "same length": (1, 1.0),
    }


def test_slices_name_agent_and_specialty() -> None:
    test = [Pair("p1", "a", "b", agent="x", specialty="cardiology"), Pair("p2", "c", "d", specialty="pediatrics")]
    slices = _report(test, [1.0, -1.0], [0.0, 0.0])["slices"]
    assert slices["agent"]["x"]["estimate"] == 1.0
    assert {name: found["estimate"] for name, found in slices["specialty"].items()} == {
        "cardiology": 1.0,
        "pediatrics": 0.0,
    }


def test_a_slice_is_as_uncertain_as_its_prompts_and_not_as_its_pairs() -> None:
    right = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
    test = [Pair(f"p{i}", "ab", f"{j}", agent="x") for i in range(10) for j in range(20)]
    wins = [float(j < 20 * share) for share in right for j in range(20)]
    report = _report(test, [2 * win - 1 for win in wins], [0.0] * 200)
    found = report["slices"]["agent"]["x"]
    assert found == report["accuracy"]
    assert (found["n"], found["pairs"]) == (10, 200)
    assert any("Only 10 prompts" in note for note in report["notes"])
    assert found["high"] - found["low"] > 0.3  # 200 independent pairs would have 0.14


def test_a_slice_without_spread_has_an_interval_of_its_few_prompts() -> None:
    test = [
        Pair(prompt, "ab", f"{j}", agent=agent)
        for agent, prompt in (("x", "p"), ("y", "q"), ("y", "r"))
        for j in range(20)
    ]
    margins = [1.0] * 20 + [1.0, -1.0] * 20
    slices = _report(test, margins, [0.0] * 60)["slices"]["agent"]
    assert slices["x"]["low"] < 0.25  # one prompt, however many of its pairs are right
    assert slices["x"]["high"] == 1.0
    assert slices["y"]["low"] < 0.2  # two prompts of one half each
    assert slices["y"]["high"] > 0.8


def test_the_page_shows_figures_and_no_text_of_a_pair() -> None:
    test = [Pair("secret prompt", "secret good", "secret bad", specialty="<b>x</b>"), Pair("p2", "c", "d")]
    page = render_page(_report(test, [1.0, -1.0], [0.0, 0.0]))
    assert "Reliability" in page
    assert "secret" not in page
    assert "<b>x</b>" not in page


def test_the_page_tells_how_many_pairs_stand_behind_each_dot_of_the_reliability_plot() -> None:
    page = render_page(_report([Pair("p", "a", "b"), Pair("q", "c", "d")], [1.0, -1.0], [0.0, 0.0]))
    assert '<tr><th scope="row">73\u2009%</th><td class="number">50\u2009%</td><td class="number">2</td></tr>' in page


def test_the_page_defines_every_color_that_its_plots_are_drawn_in() -> None:
    page = render_page(_report([Pair("p", "a", "b"), Pair("q", "c", "d")], [1.0, -1.0], [0.0, 0.0]))
    used, defined = (set(re.findall(pattern, page)) for pattern in (r"var\((--[\w-]+)", r"(--[\w-]+):"))
    assert used
    assert used <= defined
    assert 'class="report"' in page  # the width by which a phone gets its own layout


def test_raters_who_agree_on_four_of_five_allow_a_ceiling() -> None:
    both = [Pair("p", "a", f"b{i}", rater="x") for i in range(5)]
    other = [Pair("p", "a", f"b{i}", rater="y") for i in range(4)] + [Pair("p", "b4", "a", rater="y")]
    found = rater_agreement(both, other)
    assert found is not None
    assert found["agreement"] == 0.8
    assert found["rater_pairs"] == 5
    assert found["accuracy_ceiling"] == pytest.approx(0.5 * (1 + 0.6**0.5))
    turned = [Pair("p", "b0", "a", rater="x")]  # who said both says nothing
    clear = rater_agreement(both + turned, other)
    assert clear is not None
    assert (clear["agreement"], clear["rater_pairs"]) == (0.75, 4)
    opposed = rater_agreement(both[:1], [Pair("p", "b0", "a", rater="y")])
    assert opposed is not None
    assert opposed["accuracy_ceiling"] == 0.5  # raters who agree less than coins do allow no more than a coin


def test_without_overlap_there_is_no_agreement_to_report() -> None:
    assert rater_agreement(pairs_of((2, 1), rater="x"), pairs_of((3, 4))) is None
