"""The report's numbers on small cases that can be worked out by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from preceptor.reward.dataset import Pair
from preceptor.reward.report import calibration, held_out_report, length_direction, rater_agreement


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
    assert calibration(np.full(20, 50.0), temperature=1.0) == pytest.approx(
        {"temperature": 1.0, "ece": 0.0, "brier": 0.0}, abs=1e-9
    )
    wrong = calibration(np.full(20, -50.0), temperature=1.0)
    assert wrong["ece"] == pytest.approx(1.0)
    assert wrong["brier"] == pytest.approx(1.0)


def test_raters_who_agree_on_four_of_five_allow_a_ceiling() -> None:
    both = [Pair("p", "a", f"b{i}", rater="x") for i in range(5)]
    other = [Pair("p", "a", f"b{i}", rater="y") for i in range(4)] + [Pair("p", "b4", "a", rater="y")]
    found = rater_agreement(both, other)
    assert found is not None
    assert found["agreement"] == 0.8
    assert found["rater_pairs"] == 5
    assert found["accuracy_ceiling"] == pytest.approx(0.5 * (1 + 0.6**0.5))


def test_without_overlap_there_is_no_agreement_to_report() -> None:
    assert rater_agreement(pairs_of((2, 1), rater="x"), pairs_of((3, 4))) is None
