from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from preceptor.errors import DataError
from preceptor.evaluate.win_rate import (
    length_controlled_win_rate,
    outcome_from_orders,
    outcomes_from_scores,
    win_rate,
)


def test_ties_count_half_and_the_margin_decides_what_a_tie_is() -> None:
    assert outcomes_from_scores([1.0, 0.0, 0.5], [0.0, 1.0, 0.5]).tolist() == [1.0, 0.0, 0.5]
    assert outcomes_from_scores([1.0, 0.0], [0.9, 0.3], tie_margin=0.2).tolist() == [0.5, 0.0]
    with pytest.raises(DataError):
        outcomes_from_scores([1.0], [1.0, 2.0])


def test_swapping_candidate_and_baseline_mirrors_the_win_rate() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=40), rng.normal(size=40)
    prompts = list(range(40))
    one = win_rate(outcomes_from_scores(a, b), prompts, seed=1)
    other = win_rate(outcomes_from_scores(b, a), prompts, seed=1)
    assert one.estimate == pytest.approx(1 - other.estimate)
    assert one.low == pytest.approx(1 - other.high)


@pytest.mark.parametrize(
    ("first", "second", "outcome"),
    [
        ("first", "second", 1.0),  # the candidate is preferred wherever it stands
        ("second", "first", 0.0),
        ("first", "first", 0.5),  # the judge only likes the first place
        ("second", "second", 0.5),
        ("tie", "tie", 0.5),
        ("first", "tie", 0.5),
    ],
)
def test_a_verdict_that_changes_with_the_order_is_a_tie(first: str, second: str, outcome: float) -> None:
    assert outcome_from_orders(first, second) == outcome  # type: ignore[arg-type]


def test_answers_to_one_prompt_are_one_piece_of_evidence() -> None:
    outcomes = [1.0] * 20 + [0.0] * 20
    apart = win_rate(outcomes, list(range(40)), seed=0)
    together = win_rate(outcomes, [i // 10 for i in range(40)], seed=0)
    assert together.n == 4
    assert together.high - together.low > 1.5 * (apart.high - apart.low)


def test_a_candidate_that_only_got_longer_does_not_win_at_equal_length() -> None:
    rng = np.random.default_rng(3)
    lengths = rng.normal(12, 10, size=200)  # the candidate is longer in most pairs, and length alone decides
    outcomes = (rng.random(200) < 1 / (1 + np.exp(-lengths / 4))).astype(float)
    prompts = list(range(200))
    assert win_rate(outcomes, prompts, seed=0).low > 0.7
    controlled = length_controlled_win_rate(outcomes, lengths, prompts, seed=0)
    assert 0.35 < controlled.estimate < 0.65
    assert controlled.low < 0.5 < controlled.high


def test_a_candidate_that_is_better_at_every_length_still_wins() -> None:
    rng = np.random.default_rng(4)
    lengths = rng.normal(0, 10, size=200)
    outcomes = (rng.random(200) < 0.75).astype(float)
    controlled = length_controlled_win_rate(outcomes, lengths, list(range(200)), seed=0)
    assert controlled.estimate == pytest.approx(outcomes.mean(), abs=0.02)
    assert controlled.low > 0.6


def test_the_win_rate_at_equal_length_is_the_minimum_of_its_stated_loss_in_every_unit_of_length() -> None:
    rng = np.random.default_rng(5)
    lengths = rng.normal(5, 10, size=30)
    outcomes = (lengths + rng.normal(0, 3, size=30) > 0).astype(float)  # length decides nearly all
    x = lengths / lengths.std()

    def loss(beta: np.ndarray) -> float:
        margins = beta[0] + beta[1] * x
        fit = outcomes @ np.logaddexp(0, -margins) + (1 - outcomes) @ np.logaddexp(0, margins)
        one_of_each = np.logaddexp(0, -beta[0]) + np.logaddexp(0, beta[0])
        return float(fit + one_of_each + 0.05 * beta[1] ** 2)

    expected = 1 / (1 + np.exp(-minimize(loss, np.zeros(2), tol=1e-10).x[0]))
    for unit in (1.0, 0.001):
        found = length_controlled_win_rate(outcomes, unit * lengths, list(range(30)), seed=0, draws=2)
        assert found.estimate == pytest.approx(expected, abs=1e-5)


def test_the_interval_at_equal_length_holds_95_in_100_draws_and_one_prompt_has_none() -> None:
    outcomes = [1.0, 0.0] * 100
    found = length_controlled_win_rate(outcomes, [0.0] * 200, list(range(200)), seed=0)
    assert found.high - found.low == pytest.approx(2 * 1.96 * 0.5 / np.sqrt(202), rel=0.1)
    alone = length_controlled_win_rate([1.0, 0.0, 0.0, 0.0], [1.0, 2.0, 3.0, 4.0], ["p"] * 4, seed=0)
    assert (alone.estimate, alone.low, alone.high) == (0.25, -np.inf, np.inf)


@pytest.mark.parametrize("outcomes", [[1.0] * 12, [0.5] * 12])
def test_extreme_outcomes_give_finite_numbers(outcomes: list[float]) -> None:
    interval = length_controlled_win_rate(outcomes, [3.0] * 12, list(range(12)), seed=0)
    assert 0.5 <= interval.low <= interval.estimate <= interval.high <= 1.0


def test_winning_everything_is_no_proof_of_winning_always() -> None:
    prompts = [f"p{i // 2}" for i in range(96)]
    everything, nothing = win_rate([1.0] * 96, prompts, seed=0), win_rate([0.0] * 96, prompts, seed=0)
    assert everything.estimate == 1.0
    assert everything.n == 48
    assert everything.low == pytest.approx(1 / (1 + 1.959964**2 / 48), abs=1e-6)
    assert (nothing.estimate, nothing.low) == (0.0, 0.0)
    assert nothing.high == pytest.approx(1 - everything.low)
