from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from preceptor.evaluate.best_of_n import kl_of_best_of_n
from preceptor.evaluate.frontier import frontier, table, training_path

BASELINE = np.array([[0.0, 1.0, 2.0, 3.0], [4.0, 4.0, 4.0, 4.0]])  # best of 4: 3 and 4; mean 1.5 and 4


def test_the_candidate_is_held_against_the_best_of_n_at_its_own_kl() -> None:
    candidate = np.array([[3.0], [4.5]])
    found = frontier(candidate, BASELINE, kl=kl_of_best_of_n(2), golden=None, seed=0)
    best_of_2 = (0 * 0 + 1 * 1 + 2 * 2 + 3 * 3) / 6  # the greater of each of the six pairs
    assert [point["n"] for point in found["best_of_n"]] == [1, 2, 3, 4]
    assert found["best_of_n"][1]["reward"]["estimate"] == pytest.approx((best_of_2 + 4) / 2)
    assert found["against"]["n"] == pytest.approx(2)
    assert found["against"]["equal_kl"]
    assert found["against"]["estimate"] == pytest.approx(((3 - best_of_2) + 0.5) / 2)


def test_at_kl_zero_it_is_held_against_one_answer_and_far_away_against_all_of_them() -> None:
    candidate = np.array([[1.5], [4.0]])
    near = frontier(candidate, BASELINE, kl=0.0, golden=None, seed=0)["against"]
    assert (near["n"], near["estimate"]) == (1.0, 0.0)
    far = frontier(candidate, BASELINE, kl=50.0, golden=None, seed=0)["against"]
    assert (far["n"], far["equal_kl"]) == (4.0, False)
    assert far["kl"] == pytest.approx(math.log(4) - 0.75)
    assert far["estimate"] == pytest.approx(-0.75)


def test_the_gold_judge_decides_where_there_is_one_and_the_reward_model_still_chooses() -> None:
    gold = -BASELINE  # it likes what the reward model likes least
    found = frontier(np.zeros((2, 1)), BASELINE, kl=9.0, golden=(np.zeros((2, 1)), gold), seed=0)
    assert found["best_of_n"][3]["gold"]["estimate"] == pytest.approx((-3 - 4) / 2)
    assert found["against"]["judge"] == "gold"
    assert found["against"]["estimate"] == pytest.approx(3.5)


def test_several_answers_of_the_candidate_count_by_their_mean_with_both_judges() -> None:
    candidate, gold = np.array([[1.0, 3.0], [0.0, 2.0]]), np.array([[5.0, 7.0], [1.0, 3.0]])
    found = frontier(candidate, BASELINE, kl=0.0, golden=(gold, BASELINE + 1), seed=0)
    assert found["candidate"]["reward"]["estimate"] == pytest.approx(1.5)
    assert found["candidate"]["gold"]["estimate"] == pytest.approx(4.0)
    assert found["against"]["estimate"] == pytest.approx(4.0 - (2.5 + 5.0) / 2)  # gold less gold, not the reward
    assert table([1, 2, 3, 4, 5, 6], each=2).tolist() == [[1, 2], [3, 4], [5, 6]]


@pytest.mark.parametrize(("kl", "drawn"), [(None, BASELINE), (float("nan"), BASELINE), (3.0, BASELINE[:, :1])])
def test_without_a_kl_or_several_answers_nothing_is_claimed(kl: float | None, drawn: Any) -> None:
    assert "not_measured" in frontier(np.zeros((2, 1)), drawn, kl=kl, golden=None, seed=0)["against"]


def test_the_way_through_training_is_drawn_only_where_its_kl_is_from_the_baseline() -> None:
    looks = [{"update": 0, "kl": 0.0, "score": 0.1, "gold": 0.2, "gold_se": 0.1}]
    card: dict[str, Any] = {"base_model": "gpt2", "config": {"warm_start_epochs": 0}}
    assert training_path({"looks": looks}, card, baseline="gpt2")["looks"][0]["gold"] == 0.2
    for changed in ({"config": {"warm_start_epochs": 4}}, {"base_model": "other"}, {"config": {"caution": 1.0}}):
        assert "not_measured" in training_path({"looks": looks}, {**card, **changed}, baseline="gpt2")
    assert "no gold" in training_path({"not_measured": "no gold"}, card, baseline="gpt2")["not_measured"]
