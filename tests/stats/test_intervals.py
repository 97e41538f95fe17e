"""Intervals against statsmodels' numbers, their coverage, and what they say when there is little or no
data.
"""

from __future__ import annotations

import math
import time

import numpy as np
import pytest
from scipy import stats

from preceptor.errors import DataError
from preceptor.stats import intervals


def test_wilson_matches_statsmodels() -> None:
    interval = intervals.wilson(7, 20)
    assert (interval.low, interval.high) == pytest.approx((0.18119182410108203, 0.5671457233147638), abs=1e-12)


def test_newcombe_matches_statsmodels() -> None:
    interval = intervals.newcombe_difference(56, 70, 48, 80)
    assert (interval.low, interval.high) == pytest.approx((0.05243147240236498, 0.33387265403690614), abs=1e-12)


def test_wilson_touches_the_ends_exactly() -> None:
    assert intervals.wilson(0, 12).low == 0.0
    assert intervals.wilson(12, 12).high == 1.0
    assert intervals.wilson(0, 12).high > 0.2


def test_no_trials_exclude_nothing() -> None:
    interval = intervals.wilson(0, 0)
    assert math.isnan(interval.estimate)
    assert (interval.low, interval.high) == (0.0, 1.0)
    assert not intervals.newcombe_difference(1, 2, 0, 0).excludes(0.0)


def test_an_impossible_proportion_is_refused() -> None:
    with pytest.raises(DataError, match="5 of 4"):
        intervals.wilson(5, 4)


def test_one_cluster_says_nothing_about_the_next() -> None:
    interval = intervals.cluster_bootstrap_mean([1.0] * 50, ["a"] * 50, seed=1)
    assert interval.n == 1
    assert not interval.excludes(0.0)


def test_two_numbers_are_needed_for_a_spread() -> None:
    assert not intervals.student_mean([0.9]).excludes(0.0)
    assert not intervals.welch_difference([0.9], [0.1, 0.2]).excludes(0.0)


def test_a_missing_value_is_refused_not_averaged() -> None:
    with pytest.raises(DataError, match="finite"):
        intervals.cluster_bootstrap_mean([1.0, float("nan")], ["a", "b"], seed=1)


def test_repeated_rows_of_a_cluster_do_not_narrow_the_interval() -> None:
    rng = np.random.default_rng(2)
    outcome = rng.integers(0, 2, 60).astype(float)
    once = intervals.cluster_bootstrap_mean(outcome, list(range(60)), seed=7)
    copied = intervals.cluster_bootstrap_mean(np.repeat(outcome, 20), np.repeat(np.arange(60), 20), seed=7)
    assert (copied.low, copied.high) == pytest.approx((once.low, once.high))


def test_the_cluster_bootstrap_covers_the_true_win_rate() -> None:
    rng = np.random.default_rng(11)
    covered = 0
    for trial in range(300):
        rate = np.clip(rng.normal(0.55, 0.2, 60), 0, 1)  # prompts differ, answers to one prompt resemble each other
        wins = (rng.random((60, 3)) < rate[:, None]).astype(float).ravel()
        interval = intervals.cluster_bootstrap_mean(wins, np.repeat(np.arange(60), 3), seed=trial, draws=500)
        covered += interval.low <= 0.55 <= interval.high
    assert 268 <= covered <= 297  # 95 % of 300 is 285; a bootstrap of 60 clusters runs a little low


def test_all_right_on_ten_prompts_is_no_certainty_however_many_pairs_they_have() -> None:
    prompts = np.repeat(np.arange(10), 3)
    right, wrong = (intervals.cluster_share([share] * 30, prompts, seed=1) for share in (1.0, 0.0))
    assert (right.estimate, right.high, right.n) == (1.0, 1.0, 10)
    assert right.low == pytest.approx(10 / (10 + 3.841459), abs=1e-6)  # Wilson's for 10 of 10: n / (n + z^2)
    assert (wrong.low, wrong.high) == pytest.approx((0.0, 1 - right.low))


def test_a_share_that_is_not_all_of_one_kind_is_resampled() -> None:
    prompts = list(range(40))
    mixed = [1.0] * 39 + [0.5]
    assert intervals.cluster_share(mixed, prompts, seed=3) == intervals.cluster_bootstrap_mean(mixed, prompts, seed=3)


def test_one_prompt_or_prompts_that_all_came_out_alike_have_wilsons_interval_on_the_prompts() -> None:
    assert intervals.cluster_share([1.0, 1.0], ["a", "a"], seed=3) == intervals.wilson(1, 1)
    ties = intervals.cluster_share([1.0, 0.0] * 6, np.repeat(np.arange(6), 2), seed=3)
    assert ties == intervals.wilson(3, 6)
    assert not np.isfinite(intervals.cluster_share([], [], seed=3).low)


def test_a_paired_difference_ignores_what_both_share() -> None:
    rng = np.random.default_rng(3)
    difficulty = rng.normal(0, 5, 40)
    interval = intervals.paired_difference(difficulty + 1, difficulty, list(range(40)), seed=1)
    assert (interval.low, interval.estimate, interval.high) == pytest.approx((1, 1, 1))


def test_student_and_welch_have_their_level() -> None:
    rng = np.random.default_rng(8)
    one = two = 0
    for _ in range(1000):
        a, b = rng.normal(0, 1, 8), rng.normal(0, 3, 12)
        one += not intervals.student_mean(a).excludes(0.0)
        two += not intervals.welch_difference(a, b).excludes(0.0)
    assert 925 <= one <= 975
    assert 925 <= two <= 975


def test_welchs_interval_is_scipys() -> None:
    first, second = [1.0, 2.0, 4.0, 8.0], [0.5, 0.6, 0.4, 0.7, 0.3, 0.9]
    expected = stats.ttest_ind(first, second, equal_var=False).confidence_interval(0.9)
    found = intervals.welch_difference(first, second, level=0.9)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_a_drawn_mean_weighs_clusters_by_their_size_and_blocks_of_draws_change_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values, clusters = [1.0] * 9 + [0.0], ["a"] * 9 + ["b"]
    whole = intervals.cluster_bootstrap_mean(values, clusters, seed=3, level=0.4)
    assert (whole.low, whole.high) == (0.9, 0.9)  # both clusters are drawn half of the time: 9 of 10
    values, clusters = list(np.random.default_rng(0).random(30)), [i // 3 for i in range(30)]
    whole = intervals.cluster_bootstrap_mean(values, clusters, seed=3)
    intervals.cluster_bootstrap_mean([value + 1e6 for value in values], clusters, seed=3)  # leaves these in memory
    monkeypatch.setattr(intervals, "_BLOCK_CELLS", 70)  # seven draws at a time
    assert intervals.cluster_bootstrap_mean(values, clusters, seed=3) == whole
    assert intervals.cluster_bootstrap_mean(values, clusters, seed=3, level=0.5).high < whole.high


def test_a_bound_is_not_outside_its_interval() -> None:
    interval = intervals.Interval(0.5, 0.25, 0.75, 9)
    assert not interval.excludes(0.25)
    assert not interval.excludes(0.75)
    assert interval.excludes(0.2499)
    assert interval.excludes(0.7501)


def test_a_bootstrap_of_a_thousand_prompts_is_quick_and_repeatable() -> None:
    values = np.random.default_rng(1).random(4000)
    clusters = np.repeat(np.arange(1000), 4)
    start = time.process_time()
    first = intervals.cluster_bootstrap_mean(values, clusters, seed=5)
    assert time.process_time() - start < 1.0
    assert first == intervals.cluster_bootstrap_mean(values, clusters, seed=5)


def test_crossed_means_allow_for_prompts_that_all_clinicians_share() -> None:
    rng = np.random.default_rng(12)
    crossed = one_way = 0
    clinicians = np.repeat(np.arange(16), 8)
    for _ in range(400):
        taste, favor = rng.normal(0, 0.1, 16), rng.normal(0, 0.3, 24)
        prompts = np.concatenate([rng.choice(24, 8, replace=False) for _ in range(16)])
        won = (rng.random(128) < np.clip(0.5 + taste[clinicians] + favor[prompts], 0, 1)).astype(float)
        crossed += not intervals.crossed_mean(won, clinicians, prompts).excludes(0.5)
        one_way += not intervals.student_mean([won[clinicians == c].mean() for c in range(16)]).excludes(0.5)
    assert 367 <= crossed <= 393  # 95 % of 400 is 380, three standard errors
    assert one_way < 350  # clustering by clinician alone would claim far too much


@pytest.mark.parametrize(
    ("values", "variance"),
    [
        ([1, 1, 1, 0, 0, 0], 12 / 144),  # by unit 12, by item 4, by both 7.2, so that units alone give more
        ([-1.5, -0.5, -0.5, 0.5, 0.5, 1.5], 14.4 / 36),  # 12 + 9 - 6.6
    ],
)
def test_the_variance_of_a_crossed_mean_is_worked_out_by_hand(values: list[float], variance: float) -> None:
    units, items = ["p", "p", "q", "q", "r", "r"], ["a", "b"] * 3
    for found in (intervals.crossed_mean(values, units, items), intervals.crossed_mean(values, items, units)):
        assert found.high - found.estimate == pytest.approx(12.706205 * math.sqrt(variance))  # t of 2 - 1 items


def test_a_crossed_mean_weighs_every_unit_alike() -> None:
    interval = intervals.crossed_mean([1.0] * 99 + [0.0], ["busy"] * 99 + ["quiet"], list(range(100)))
    assert interval.estimate == pytest.approx(0.5)
    assert not interval.excludes(0.9)


def test_a_crossed_mean_of_one_prompt_or_nothing_excludes_nothing() -> None:
    assert not intervals.crossed_mean([1.0, 1.0], ["a", "b"], ["p", "p"]).excludes(0.0)
    assert math.isnan(intervals.crossed_mean([], [], []).estimate)


def test_paired_proportions_agree_with_the_published_example() -> None:
    first = [1] * 36 + [1] * 12 + [0] * 2
    second = [1] * 36 + [0] * 12 + [1] * 2
    found = intervals.newcombe_paired_difference(first, second)  # Newcombe 1998, table II: 36, 12, 2, 0
    assert (found.estimate, found.low, found.high) == pytest.approx((0.2, 0.0569, 0.3404), abs=5e-5)
    mirrored = intervals.newcombe_paired_difference(second, first)
    assert (mirrored.low, mirrored.high) == pytest.approx((-found.high, -found.low))


def test_pairs_that_agree_narrow_the_interval_by_their_corrected_correlation() -> None:
    first, second = [1] * 32 + [0] * 18, [1] * 20 + [0] * 12 + [1] * 2 + [0] * 16
    found = intervals.newcombe_paired_difference(first, second)
    one, two = intervals.wilson(32, 50), intervals.wilson(22, 50)
    below, above = one.estimate - one.low, two.high - two.estimate
    phi = (20 * 16 - 12 * 2 - 50 / 2) / math.sqrt(32 * 18 * 22 * 28)
    assert found.low == pytest.approx(0.2 - math.sqrt(below**2 - 2 * phi * below * above + above**2))


def test_no_events_among_few_pairs_exclude_little() -> None:
    assert intervals.newcombe_paired_difference([0] * 24, [0] * 24).high == pytest.approx(intervals.wilson(0, 24).high)
    assert intervals.newcombe_paired_difference([], []).high == 1.0
    with pytest.raises(DataError):
        intervals.newcombe_paired_difference([0.5], [1])
