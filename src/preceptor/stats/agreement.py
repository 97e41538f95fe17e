"""Ratings by item and rater in, one coefficient of agreement with its interval out.

`ratings` is always (N items, R raters) of numbers, NaN where a rater did not judge the item. Items that
fewer than two raters judged carry no agreement and are left out of the observed part.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from preceptor.errors import DataError
from preceptor.stats.intervals import Interval

FloatArray = NDArray[np.float64]
Metric = Literal["nominal", "ordinal", "interval"]
Weights = Literal["identity", "linear", "quadratic"]
Coefficient = Literal["percent", "alpha", "ac", "fleiss"]


def percent_agreement(ratings: ArrayLike) -> float:
    """Share of rater pairs that agree, averaged over items with two or more ratings (not corrected for
    chance).
    """
    counts, values = _category_counts(ratings, None)
    return float(_percent(_one(counts), counts, values)[0])


def krippendorff_alpha(ratings: ArrayLike, *, metric: Metric = "nominal") -> float:
    """Krippendorff's alpha (2011, "Computing Krippendorff's alpha-reliability"); NaN when nothing varies."""
    counts, values = _category_counts(ratings, None)
    return float(_alpha(_one(counts), counts, values, metric)[0])


def gwet_ac(ratings: ArrayLike, *, weights: Weights = "identity", categories: Sequence[float] | None = None) -> float:
    """Gwet's AC1 (`identity`) or AC2 (other weights), Gwet 2008, Br J Math Stat Psychol 61:29; 2014 for AC2.

    `categories` is the whole scale; without it the scale is what was seen, which overstates chance agreement.
    """
    counts, values = _category_counts(ratings, categories)
    return float(_gwet(_one(counts), counts, values, weights)[0])


def fleiss_kappa(ratings: ArrayLike) -> float:
    """Fleiss' kappa (1971, Psychol Bull 76:378), in Gwet's form that allows missing ratings."""
    counts, values = _category_counts(ratings, None)
    return float(_fleiss(_one(counts), counts, values)[0])


def cohen_kappa(first: ArrayLike, second: ArrayLike, *, weights: Weights = "identity") -> float:
    """Cohen's kappa (1960), weighted for ordered scales (1968), on items both raters judged; NaN without
    chance.
    """
    pair = np.column_stack([np.ravel(np.asarray(first, float)), np.ravel(np.asarray(second, float))])
    pair = pair[~np.isnan(pair).any(axis=1)]
    if not len(pair):
        return float("nan")
    values, codes = np.unique(pair, return_inverse=True)
    codes = codes.reshape(pair.shape)
    table = np.zeros((values.size, values.size))
    np.add.at(table, (codes[:, 0], codes[:, 1]), 1 / len(pair))
    weight = _weights(values, weights)
    chance = float((weight * np.outer(table.sum(1), table.sum(0))).sum())
    return _corrected(np.array((weight * table).sum()), np.array(chance)).item()


def agreement_interval(
    ratings: ArrayLike,
    coefficient: Coefficient,
    *,
    metric: Metric = "nominal",
    weights: Weights = "identity",
    categories: Sequence[float] | None = None,
    draws: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """The coefficient with a percentile bootstrap over items; `n` counts items with two or more ratings.

    Resamples in which the coefficient is undefined (nothing varied) are set aside; when they are more than
    half, the bounds are NaN, because the data do not say.
    """
    counts, values = _category_counts(ratings, categories if coefficient == "ac" else None)
    counts = counts[counts.sum(axis=1) >= 2]
    items = len(counts)
    if items < 2:
        nan = float("nan")
        estimate = float(_coefficient(_one(counts), counts, values, coefficient, metric, weights)[0]) if items else nan
        return Interval(estimate, nan, nan, items, level, "item bootstrap")
    # Items with the same ratings are interchangeable, so drawing how often each pattern occurs is drawing
    # items; patterns are few (5 stars and 3 raters make 35) however many items there are.
    patterns, frequency = np.unique(counts, axis=0, return_counts=True)
    rng = np.random.default_rng(seed)
    multiplicity = rng.multinomial(items, frequency / items, size=draws).astype(np.float64)  # (D, patterns)
    weighting = np.vstack([frequency.astype(np.float64)[None], multiplicity])
    drawn = _coefficient(weighting, patterns, values, coefficient, metric, weights)
    defined = drawn[1:][~np.isnan(drawn[1:])]
    if defined.size <= draws / 2:
        return Interval(float(drawn[0]), float("nan"), float("nan"), items, level, "item bootstrap")
    low, high = np.quantile(defined, [0.5 - level / 2, 0.5 + level / 2])
    return Interval(float(drawn[0]), float(low), float(high), items, level, "item bootstrap")


# Below, every coefficient is a function of how often each item counts, `weighting` (D draws, N items), so
# that a bootstrap is one matrix product; the plain value is the draw in which each item counts once.


def _coefficient(
    weighting: FloatArray,
    counts: FloatArray,
    values: FloatArray,
    coefficient: Coefficient,
    metric: Metric,
    weights: Weights,
) -> FloatArray:
    if coefficient == "percent":
        return _percent(weighting, counts, values)
    if coefficient == "alpha":
        return _alpha(weighting, counts, values, metric)
    if coefficient == "ac":
        return _gwet(weighting, counts, values, weights)
    return _fleiss(weighting, counts, values)


def _percent(weighting: FloatArray, counts: FloatArray, values: FloatArray) -> FloatArray:
    return _observed(weighting, counts, np.eye(values.size))


def _fleiss(weighting: FloatArray, counts: FloatArray, values: FloatArray) -> FloatArray:
    share = _mean_shares(weighting, counts)
    return _corrected(_percent(weighting, counts, values), (share**2).sum(axis=1))


def _gwet(weighting: FloatArray, counts: FloatArray, values: FloatArray, weights: Weights) -> FloatArray:
    size = values.size
    if size < 2:  # one category seen and no scale given: chance cannot be told from agreement
        return np.full(len(weighting), np.nan)
    weight = _weights(values, weights)
    share = _mean_shares(weighting, counts)
    chance = weight.sum() / (size * (size - 1)) * (share * (1 - share)).sum(axis=1)
    return _corrected(_observed(weighting, counts, weight), chance)


def _alpha(weighting: FloatArray, counts: FloatArray, values: FloatArray, metric: Metric) -> FloatArray:
    size = values.size
    raters = counts.sum(axis=1)
    keep = raters >= 2
    if not keep.any():
        return np.full(len(weighting), np.nan)
    counts, raters, weighting = counts[keep], raters[keep], weighting[:, keep]
    pairs = counts[:, :, None] * counts[:, None, :] - counts[:, :, None] * np.eye(size)
    pairs = (pairs / (raters - 1)[:, None, None]).reshape(len(counts), size * size)
    coincidence = (weighting @ pairs).reshape(-1, size, size)  # (D, K, K)
    totals = coincidence.sum(axis=2)  # (D, K)
    distance = _distance(totals, values, metric)  # (D or 1, K, K)
    observed = (coincidence * distance).sum(axis=(1, 2))
    expected = (totals[:, :, None] * totals[:, None, :] * distance).sum(axis=(1, 2))
    with np.errstate(divide="ignore", invalid="ignore"):
        alpha = 1 - (totals.sum(axis=1) - 1) * observed / expected
    return np.where(expected > 0, alpha, np.nan)


def _distance(totals: FloatArray, values: FloatArray, metric: Metric) -> FloatArray:
    if metric == "nominal":
        return 1 - np.eye(values.size)[None]
    if metric == "interval":
        return ((values[:, None] - values[None, :]) ** 2)[None]
    # Ordinal: ratings between two ranks, the ends counted half, squared; it depends on the marginals of
    # each draw.
    middle = np.cumsum(totals, axis=1) - totals / 2
    return (middle[:, :, None] - middle[:, None, :]) ** 2


def _observed(weighting: FloatArray, counts: FloatArray, weight: FloatArray) -> FloatArray:
    raters = counts.sum(axis=1)
    several = raters >= 2
    if not several.any():
        return np.full(len(weighting), np.nan)
    counts, raters = counts[several], raters[several]
    agreeing = (counts * (counts @ weight - 1)).sum(axis=1) / (raters * (raters - 1))
    used = weighting[:, several]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(used @ agreeing / used.sum(axis=1), dtype=np.float64)


def _mean_shares(weighting: FloatArray, counts: FloatArray) -> FloatArray:
    if not len(counts):
        return np.full((len(weighting), counts.shape[1]), np.nan)
    shares = counts / counts.sum(axis=1, keepdims=True)
    return np.asarray(weighting @ shares / weighting.sum(axis=1, keepdims=True), dtype=np.float64)


def _corrected(observed: FloatArray, chance: FloatArray) -> FloatArray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(chance < 1, (observed - chance) / (1 - chance), np.nan)


def _weights(values: FloatArray, weights: Weights) -> FloatArray:
    if weights == "identity" or values.size < 2:
        return np.eye(values.size)
    gap = np.abs(values[:, None] - values[None, :]) / (values.max() - values.min())
    return np.asarray(1 - (gap if weights == "linear" else gap**2), dtype=np.float64)


def _category_counts(ratings: ArrayLike, categories: Sequence[float] | None) -> tuple[FloatArray, FloatArray]:
    table = np.asarray(ratings, dtype=np.float64)
    if table.ndim != 2:
        raise DataError(f"ratings must be a table of items by raters, got {table.ndim} dimension(s)")
    seen = np.unique(table[~np.isnan(table)])
    values = seen if categories is None else np.unique(np.asarray(categories, dtype=np.float64))
    outside = np.setdiff1d(seen, values)
    if outside.size:
        raise DataError(f"rating {outside[0]:g} is not on the scale {values.tolist()}; correct the scale or the data")
    counts = (table[:, :, None] == values[None, None, :]).sum(axis=1).astype(np.float64)  # (N, K)
    return counts[counts.sum(axis=1) >= 1], values


def _one(counts: FloatArray) -> FloatArray:
    return np.ones((1, len(counts)))
