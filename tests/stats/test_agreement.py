"""Coefficients of agreement against published tables and outside oracles; numbers only are kept from the
oracles.
"""

from __future__ import annotations

import gzip
import json
import math
import os
from pathlib import Path

import numpy as np
import pytest

from preceptor.errors import DataError
from preceptor.stats import agreement

NAN = float("nan")

# Krippendorff (2011), "Computing Krippendorff's alpha-reliability": 4 observers, 12 units, missing values.
FOUR_BY_TWELVE = np.array(
    [
        [1, 1, NAN, 1],
        [2, 2, 3, 2],
        [3, 3, 3, 3],
        [3, 3, 3, 3],
        [2, 2, 2, 2],
        [1, 2, 3, 4],
        [4, 4, 4, 4],
        [1, 1, 2, 1],
        [2, 2, 2, 2],
        [NAN, 5, 5, 5],
        [NAN, NAN, 1, 1],
        [NAN, NAN, 3, NAN],
    ]
)

# The 10-subject, 14-rater, 5-category table that Fleiss' kappa is usually shown on (kappa 0.210).
TEN_SUBJECTS = [
    [0, 0, 0, 0, 14],
    [0, 2, 6, 4, 2],
    [0, 0, 3, 5, 6],
    [0, 3, 9, 2, 0],
    [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0],
    [3, 2, 6, 3, 0],
    [2, 5, 3, 2, 2],
    [6, 5, 2, 1, 0],
    [0, 2, 2, 3, 7],
]


def from_counts(table: list[list[int]]) -> np.ndarray:
    return np.array([[k + 1 for k, times in enumerate(row) for _ in range(times)] for row in table], float)


@pytest.mark.parametrize(("metric", "expected"), [("nominal", 0.743421), ("ordinal", 0.815388), ("interval", 0.849107)])
def test_alpha_matches_krippendorffs_worked_example(metric: agreement.Metric, expected: float) -> None:
    assert agreement.krippendorff_alpha(FOUR_BY_TWELVE, metric=metric) == pytest.approx(expected, abs=1e-6)


def test_fleiss_kappa_matches_the_ten_subject_table() -> None:
    assert agreement.fleiss_kappa(from_counts(TEN_SUBJECTS)) == pytest.approx(0.210, abs=5e-4)


@pytest.mark.parametrize(("weights", "expected"), [("identity", 0.77544), ("linear", 0.85874), ("quadratic", 0.91400)])
def test_ac1_and_ac2_match_irrcac_with_missing_ratings(weights: agreement.Weights, expected: float) -> None:
    assert agreement.gwet_ac(FOUR_BY_TWELVE, weights=weights) == pytest.approx(expected, abs=5e-6)


def test_percent_and_fleiss_match_irrcac_with_missing_ratings() -> None:
    assert agreement.percent_agreement(FOUR_BY_TWELVE) == pytest.approx(0.81818, abs=5e-6)
    assert agreement.fleiss_kappa(FOUR_BY_TWELVE) == pytest.approx(0.76117, abs=5e-6)


def test_the_prevalence_paradox_sinks_kappa_and_not_ac1() -> None:
    first = [0] * 90 + [0] * 5 + [1] * 5
    second = [0] * 90 + [1] * 5 + [0] * 5
    assert agreement.cohen_kappa(first, second) == pytest.approx(-0.0526, abs=1e-4)
    assert agreement.gwet_ac(np.column_stack([first, second])) == pytest.approx(0.8895, abs=1e-4)


@pytest.mark.parametrize(
    ("weights", "expected"),
    [("identity", 0.5472822040208488), ("linear", 0.6283391405342624), ("quadratic", 0.7161290322580645)],
)
def test_cohen_kappa_matches_statsmodels(weights: agreement.Weights, expected: float) -> None:
    table = [[20, 5, 1], [3, 15, 4], [0, 6, 10]]
    cells = [(i, j) for i in range(3) for j in range(3) for _ in range(table[i][j])]
    first, second = zip(*cells, strict=True)
    assert agreement.cohen_kappa(first, second, weights=weights) == pytest.approx(expected, abs=1e-9)


def test_cohen_kappa_uses_only_items_both_raters_judged() -> None:
    assert agreement.cohen_kappa([1, 2, 1, NAN], [1, 2, 2, 1]) == agreement.cohen_kappa([1, 2, 1], [1, 2, 2])


def test_coefficients_do_not_depend_on_rater_or_item_order() -> None:
    shuffled = FOUR_BY_TWELVE[::-1][:, [2, 0, 3, 1]]
    assert agreement.krippendorff_alpha(shuffled, metric="ordinal") == pytest.approx(
        agreement.krippendorff_alpha(FOUR_BY_TWELVE, metric="ordinal")
    )
    assert agreement.gwet_ac(shuffled) == pytest.approx(agreement.gwet_ac(FOUR_BY_TWELVE))


def test_unanimous_ratings_leave_alpha_undefined_and_ac_at_one_on_a_known_scale() -> None:
    same = np.full((6, 2), 5.0)
    assert math.isnan(agreement.krippendorff_alpha(same))
    assert agreement.gwet_ac(same, categories=[1, 2, 3, 4, 5]) == 1.0
    bounds = agreement.agreement_interval(same, "alpha", seed=1)
    assert math.isnan(bounds.low)
    assert math.isnan(bounds.high)


def test_no_ratings_give_nan_and_not_agreement() -> None:
    empty = np.full((3, 2), NAN)
    for value in (
        agreement.krippendorff_alpha(empty),
        agreement.percent_agreement(empty),
        agreement.fleiss_kappa(empty),
    ):
        assert math.isnan(value)
    assert agreement.agreement_interval(empty, "alpha", seed=1).n == 0


def test_a_rating_off_the_scale_is_refused() -> None:
    with pytest.raises(DataError, match="rating 9"):
        agreement.gwet_ac([[1, 9]], categories=[1, 2, 3, 4, 5])


def test_the_item_bootstrap_covers_the_truth() -> None:
    # Two raters copy a fair coin with probability 0.6 and else guess: nominal alpha is 0.36 in the limit.
    rng = np.random.default_rng(5)
    covered = 0
    for trial in range(200):
        truth = rng.integers(0, 2, 150)
        raters = [np.where(rng.random(150) < 0.6, truth, rng.integers(0, 2, 150)) for _ in range(2)]
        interval = agreement.agreement_interval(np.column_stack(raters), "alpha", draws=400, seed=trial)
        covered += interval.low <= 0.36 <= interval.high
    assert 180 <= covered <= 199  # 95 % nominal: 190 +- 3.2 standard errors, and not everything


def test_the_same_seed_gives_the_same_interval() -> None:
    first = agreement.agreement_interval(FOUR_BY_TWELVE, "ac", seed=3)
    assert first == agreement.agreement_interval(FOUR_BY_TWELVE, "ac", seed=3)
    assert first.low < first.estimate < first.high


@pytest.mark.data
def test_k_qa_physician_labels_agree_as_published() -> None:
    folder = Path(os.environ.get("PRECEPTOR_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))
    path = folder / "k-qa" / "three_physician_labels.jsonl.gz"
    if not path.exists():
        pytest.skip(f"the K-QA labels are not at {path}")
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    names = sorted({row[f"label_{i}"] for row in rows for i in range(3)})
    table = np.array([[names.index(row[f"label_{i}"]) for i in range(3)] for row in rows], float)
    interval = agreement.agreement_interval(table, "alpha", seed=1)
    # All 399 items are published as alpha 0.7191 and Fleiss kappa 0.7189; the 207 shared ones must be near
    # it.
    assert interval.low < 0.7191 < interval.high
    if len(table) == 207:
        assert interval.estimate == pytest.approx(0.741410, abs=1e-6)
        assert agreement.fleiss_kappa(table) == pytest.approx(0.74099, abs=1e-5)
    if len(table) == 399:
        assert interval.estimate == pytest.approx(0.7191, abs=5e-5)
        assert agreement.fleiss_kappa(table) == pytest.approx(0.7189, abs=5e-5)
