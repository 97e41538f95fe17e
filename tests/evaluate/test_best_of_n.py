"""The best of n: its estimate against every draw, its KL against a simulation, ties and too few answers."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from preceptor.errors import DataError, InputError
from preceptor.evaluate.best_of_n import (
    best_of_n_curve,
    expected_best,
    kl_of_best_of_n,
    rank_weights,
)


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_the_estimate_is_the_mean_over_every_draw_without_replacement(n: int) -> None:
    scores = np.random.default_rng(0).normal(size=(3, 5))
    values = np.random.default_rng(1).normal(size=(3, 5))
    for row, value, got, worth in zip(
        scores, values, expected_best(scores, n), expected_best(scores, n, values=values), strict=True
    ):
        draws = list(itertools.combinations(range(5), n))
        best = [max(draw, key=lambda i: row[i]) for draw in draws]
        assert got == pytest.approx(np.mean([row[i] for i in best]))
        assert worth == pytest.approx(np.mean([value[i] for i in best]))


def test_the_weights_are_probabilities_and_one_of_one_is_the_mean() -> None:
    assert rank_weights(16, 8).sum() == pytest.approx(1)
    assert rank_weights(4, 1).tolist() == [0.25] * 4
    assert rank_weights(4, 4).tolist() == [0, 0, 0, 1]


def test_the_order_of_equal_scores_changes_nothing() -> None:
    scores, values = np.array([[1.0, 2.0, 2.0, 0.0]]), np.array([[0.0, 10.0, 20.0, 0.0]])
    swapped = [0, 2, 1, 3]
    assert expected_best(scores, 2, values=values) == pytest.approx(expected_best(scores, 2, values=values[:, swapped]))
    assert expected_best(scores, 4, values=values)[0] == pytest.approx(15)


def test_a_constant_reward_model_gains_nothing() -> None:
    values = np.array([[1.0, 2.0, 6.0]])
    for n in (1, 2, 3):
        assert expected_best(np.zeros((1, 3)), n, values=values)[0] == pytest.approx(3)


def test_the_kl_is_that_of_a_simulated_choice() -> None:
    words, n = 4000, 4  # equally likely answers: the best of n follows (i/m)^n - ((i-1)/m)^n
    rank = np.arange(1, words + 1)
    p = (rank / words) ** n - ((rank - 1) / words) ** n
    assert kl_of_best_of_n(n) == pytest.approx(float((p * np.log(p * words)).sum()), abs=1e-3)
    assert kl_of_best_of_n(1) == 0
    assert kl_of_best_of_n(16) == pytest.approx(math.log(16) - 15 / 16)


def test_the_curve_rises_in_score_and_kl_and_leaves_out_sizes_without_enough_answers() -> None:
    scores = np.random.default_rng(2).normal(size=(20, 8))
    points = best_of_n_curve(scores, judged=-scores, seed=0)
    assert [point.n for point in points] == [1, 2, 4, 8]
    assert all(a.score.estimate < b.score.estimate and a.kl < b.kl for a, b in itertools.pairwise(points))
    assert points[-1].judged is not None
    assert points[-1].judged.estimate == pytest.approx(-points[-1].score.estimate)
    assert points[0].score.low < points[0].score.estimate < points[0].score.high
    assert points[0].judged is not None
    assert points[0].judged.low == pytest.approx(-points[0].score.high)


@pytest.mark.parametrize("n", [0, 5])
def test_a_size_that_cannot_be_estimated_is_refused(n: int) -> None:
    with pytest.raises(InputError, match="cannot be estimated"):
        expected_best(np.zeros((2, 4)), n)


def test_the_kl_of_no_answer_is_refused() -> None:
    with pytest.raises(InputError, match="at least 1"):
        kl_of_best_of_n(0)


def test_scores_that_are_no_numbers_or_no_table_are_refused() -> None:
    with pytest.raises(DataError, match="not numbers"):
        expected_best([[0.0, float("nan")]], 1)
    with pytest.raises(DataError, match="row a prompt"):
        expected_best([0.0, 1.0], 1)
