"""Sequential tests against golden numbers, exact enumeration, and seeded Monte Carlo with binomial bounds."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from preceptor.errors import DataError
from preceptor.stats import sequential

LOG_20 = math.log(20)
RUNS = 2000
ALLOWED = int(RUNS * 0.05 + 3 * math.sqrt(RUNS * 0.05 * 0.95))  # 5 % and three standard errors


def crossings(paths: np.ndarray, threshold: float = LOG_20) -> int:
    return int((paths >= threshold).any(axis=1).sum())


def median_crossing(paths: np.ndarray, threshold: float = LOG_20) -> float:
    hit = paths >= threshold
    return float(np.median(np.where(hit.any(axis=1), hit.argmax(axis=1) + 1, 10**9)))


def satisfaction(rng: np.random.Generator, mean: float, size: int = 600) -> np.ndarray:
    return np.clip(rng.normal(mean, 0.2, (RUNS, size)), 0, 1)


def test_the_confidence_sequence_equals_gbstats() -> None:
    sequence = sequential.difference_sequence_from_moments(
        (520, 4.0, 520 * 1.0 / 519), (500, 3.8, 500 * 1.1 / 499), planned_units=5000
    )
    assert sequence.low == pytest.approx(-0.0155799166, abs=1e-9)
    assert sequence.high == pytest.approx(0.4155799166, abs=1e-9)
    assert sequence.p_value == pytest.approx(0.0811617697, abs=1e-9)
    assert sequential.tuning_rho(5000) == pytest.approx(0.0398400668, abs=1e-9)


def test_the_sequence_of_rows_equals_that_of_moments() -> None:
    rng = np.random.default_rng(1)
    t, c = rng.random(70), rng.random(60)
    assert sequential.difference_sequence(t, c, planned_units=100) == sequential.difference_sequence_from_moments(
        (70, t.mean(), t.var(ddof=1)), (60, c.mean(), c.var(ddof=1)), planned_units=100
    )


def test_the_sequence_seldom_excludes_a_null_at_any_of_many_looks() -> None:
    rng = np.random.default_rng(4)
    wrong = 0
    for _ in range(300):
        t, c = rng.random(1000), rng.random(1000)
        wrong += any(
            sequential.difference_sequence(t[:n], c[:n], planned_units=1000).p_value < 0.05 for n in range(50, 1001, 50)
        )
    assert wrong <= 300 * 0.05 + 3 * math.sqrt(300 * 0.05 * 0.95)


def test_a_one_sided_radius_is_narrower_and_both_are_narrowest_near_the_plan() -> None:
    rho = sequential.tuning_rho(500)
    assert sequential.sequence_radius(500, 1, rho=rho, one_sided=True) < sequential.sequence_radius(500, 1, rho=rho)
    other = sequential.tuning_rho(50_000)
    assert sequential.sequence_radius(500, 1, rho=rho) < sequential.sequence_radius(500, 1, rho=other)


def test_forty_clinicians_cannot_detect_a_tenth() -> None:
    # Per-unit deviation 0.2, half-width 0.19 at 40 units in all, so a gain of 0.1 is not
    # visible.
    rho = sequential.tuning_rho(20)
    assert 2 * sequential.sequence_radius(40, 0.2, rho=rho) > 0.1


@pytest.mark.parametrize(("margin", "control", "treatment"), [(0.0, 0.6, 0.6), (0.05, 0.6, 0.55)])
def test_harm_is_seldom_alleged_on_the_boundary(margin: float, control: float, treatment: float) -> None:
    rng = np.random.default_rng(10)
    paths = sequential.harm_process(satisfaction(rng, control), satisfaction(rng, treatment), margin=margin)
    assert crossings(paths) <= ALLOWED


def test_harm_of_a_tenth_is_found_with_about_eighty_pairs() -> None:
    rng = np.random.default_rng(11)
    paths = sequential.harm_process(satisfaction(rng, 0.6), satisfaction(rng, 0.5))
    assert crossings(paths) == RUNS
    assert 65 <= median_crossing(paths) <= 95


def test_non_inferiority_is_seldom_certified_on_the_boundary() -> None:
    rng = np.random.default_rng(12)
    paths = sequential.non_inferiority_process(satisfaction(rng, 0.6), satisfaction(rng, 0.55), margin=0.05)
    assert crossings(paths) <= ALLOWED


def test_non_inferiority_of_an_equal_arm_is_certified_with_about_two_hundred_pairs() -> None:
    rng = np.random.default_rng(13)
    paths = sequential.non_inferiority_process(satisfaction(rng, 0.6), satisfaction(rng, 0.6), margin=0.05)
    assert crossings(paths) >= 0.9 * RUNS
    assert 160 <= median_crossing(paths) <= 240


def test_the_betting_process_is_a_fair_game_under_its_null_exactly() -> None:
    # Every path of eight fair +-1 gains is equally likely: the mean wealth must be 1 at every look.
    paths = np.array(list(itertools.product([-1.0, 1.0], repeat=8)))
    wealth = np.exp(sequential.betting_process(paths, largest_bet=0.5))
    assert wealth.mean(axis=0) == pytest.approx(np.ones(8), abs=1e-12)
    assert wealth.std(axis=0)[-1] > 0.1  # and it does bet


def test_a_bet_is_chosen_before_its_outcome_is_seen() -> None:
    rng = np.random.default_rng(1)
    gains = rng.normal(0.1, 0.3, 20).clip(-1, 1)
    changed = np.append(gains[:-1], -1.0)
    first = sequential.betting_process(gains, largest_bet=0.5)
    second = sequential.betting_process(changed, largest_bet=0.5)
    assert (first[:-1] == second[:-1]).all()
    assert first[-1] != second[-1]


def test_six_pairs_can_never_roll_back_or_certify() -> None:
    worst = sequential.harm_process(np.ones(6), np.zeros(6))
    assert worst[-1] < LOG_20


def test_outcomes_outside_the_unit_interval_are_refused() -> None:
    with pytest.raises(DataError, match="between 0 and 1"):
        sequential.harm_process([4.0, 5.0], [0.5, 0.5])
    with pytest.raises(DataError, match="as many control"):
        sequential.harm_process([0.4], [0.5, 0.5])
    with pytest.raises(DataError, match="between 0 and 1"):
        sequential.harm_process([math.nan], [0.5])


def test_the_sample_ratio_alarm_is_quiet_on_a_fair_split_and_hears_sixty_forty() -> None:
    rng = np.random.default_rng(20)
    fair = sequential.sample_ratio_process(rng.random((RUNS, 600)) < 0.5)
    assert crossings(fair, math.log(1000)) <= 2 + RUNS * 0.001
    skewed = sequential.sample_ratio_process(rng.random((RUNS, 1200)) < 0.6)
    assert crossings(skewed, math.log(1000)) >= 0.98 * RUNS
    assert 380 <= median_crossing(skewed, math.log(1000)) <= 540


def test_the_sample_ratio_process_is_fair_under_an_uneven_design_exactly() -> None:
    paths = np.array(list(itertools.product([0.0, 1.0], repeat=9)))
    probability = 0.3 ** paths.sum(1) * 0.7 ** (9 - paths.sum(1))
    evidence = np.exp(sequential.sample_ratio_process(paths, treatment_share=0.3))
    assert probability @ evidence == pytest.approx(np.ones(9), abs=1e-9)


def test_duel_evidence_averages_to_one_when_the_arms_are_equal() -> None:
    total = sum(math.comb(20, k) * 0.5**20 * math.exp(sequential.duel_log_evidence(k, 20)) for k in range(21))
    assert total == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize(("rate", "expected"), [(0.60, 186), (0.65, 84), (0.70, 44)])
def test_duels_stop_after_the_number_of_comparisons_the_design_promises(rate: float, expected: int) -> None:
    rng = np.random.default_rng(int(rate * 100))
    wins = np.cumsum(rng.random((RUNS, 900)) < rate, axis=1)
    table = np.array([[sequential.duel_log_evidence(k, n) if k <= n else 0 for k in range(401)] for n in range(401)])
    paths = np.stack([table[n, wins[:, n - 1]] for n in range(1, 401)], axis=1)
    assert median_crossing(paths) == pytest.approx(expected, rel=0.12)


def test_safety_flags_from_equal_arms_seldom_roll_back_and_a_fivefold_hazard_does() -> None:
    rng = np.random.default_rng(30)
    assert crossings(sequential.safety_flag_process(rng.random((RUNS, 60)) < 0.5, 0.5)) <= ALLOWED
    hazard_3 = sequential.safety_flag_process(rng.random((RUNS, 60)) < 3 / 4, 0.5)
    assert crossings(hazard_3) >= 0.92 * RUNS
    hazard_5 = sequential.safety_flag_process(rng.random((RUNS, 60)) < 5 / 6, 0.5)
    assert median_crossing(hazard_5) <= 18


def test_the_safety_process_is_fair_when_each_unit_has_its_own_probability() -> None:
    shares = np.array([0.5, 0.25, 0.75, 0.1, 0.9])
    paths = np.array(list(itertools.product([0.0, 1.0], repeat=5)))
    probability = np.prod(np.where(paths == 1, shares, 1 - shares), axis=1)
    assert probability @ np.exp(sequential.safety_flag_process(paths, shares)) == pytest.approx(np.ones(5))


def test_no_data_is_no_evidence() -> None:
    assert sequential.peak(sequential.harm_process([], [])) == 0.0
    assert sequential.peak(sequential.safety_flag_process([], 0.5)) == 0.0
    assert sequential.duel_log_evidence(0, 0) == 0.0
    assert not math.isfinite(sequential.difference_sequence([], [0.5, 0.4], planned_units=10).low)
