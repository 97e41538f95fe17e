"""Counts, measurements and their clusters in; an estimate with its interval out."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from preceptor.errors import DataError

FloatArray = NDArray[np.float64]

# 4 million resampled cluster indices at a time keeps a bootstrap under 100 MB whatever the data size.
_BLOCK_CELLS = 4_000_000
_NO_SPREAD = 1e-9


@dataclass(frozen=True)
class Interval:
    """An estimate with its bounds; `n` counts the independent things behind it (units, clusters or
    trials).
    """

    estimate: float
    low: float
    high: float
    n: int
    level: float = 0.95
    method: str = ""

    def excludes(self, value: float) -> bool:
        """Whether `value` lies outside the bounds; an interval with a NaN bound excludes nothing."""
        return self.low > value or self.high < value


def wilson(successes: float, trials: int, *, level: float = 0.95) -> Interval:
    """Wilson's score interval for a proportion; `successes` may hold halves (ties). Wilson 1927, JASA 22:209.

    With no trials the estimate is NaN and the bounds are the whole of [0, 1]: no data is not evidence.
    """
    if trials < 0 or not 0 <= successes <= trials:
        raise DataError(f"a proportion needs 0 <= successes <= trials, got {successes} of {trials}")
    if trials == 0:
        return Interval(float("nan"), 0.0, 1.0, 0, level, "wilson")
    z = _normal_quantile(level)
    p = successes / trials
    center = (p + z * z / (2 * trials)) / (1 + z * z / trials)
    half = z * np.sqrt(p * (1 - p) / trials + z * z / (4 * trials * trials)) / (1 + z * z / trials)
    low = 0.0 if successes == 0 else max(0.0, float(center - half))
    high = 1.0 if successes == trials else min(1.0, float(center + half))
    return Interval(p, low, high, trials, level, "wilson")


def newcombe_difference(
    successes: float, trials: int, other_successes: float, other_trials: int, *, level: float = 0.95
) -> Interval:
    """First proportion minus the second, by Newcombe's hybrid score method (1998, Stat Med 17:873, method
    10).
    """
    first = wilson(successes, trials, level=level)
    second = wilson(other_successes, other_trials, level=level)
    n = trials + other_trials
    if trials == 0 or other_trials == 0:
        return Interval(float("nan"), -1.0, 1.0, n, level, "newcombe")
    difference = first.estimate - second.estimate
    below = np.hypot(first.estimate - first.low, second.high - second.estimate)
    above = np.hypot(first.high - first.estimate, second.estimate - second.low)
    return Interval(difference, float(difference - below), float(difference + above), n, level, "newcombe")


def newcombe_paired_difference(first: ArrayLike, second: ArrayLike, *, level: float = 0.95) -> Interval:
    """Share of `first` minus share of `second`, pairs of 0 or 1 (N,), by Newcombe's hybrid score method for paired data
    (1998, Stat Med 17:2635, method 10).

    Its bounds stay apart where nothing happened at all: no events among few pairs exclude little.
    """
    a, b = np.asarray(first, dtype=np.float64).ravel(), np.asarray(second, dtype=np.float64).ravel()
    if a.shape != b.shape or not np.isin(a, (0, 1)).all() or not np.isin(b, (0, 1)).all():
        raise DataError(f"paired proportions need pairs of 0 or 1, got {a.size} and {b.size} values")
    n = int(a.size)
    if n == 0:
        return Interval(float("nan"), -1.0, 1.0, 0, level, "newcombe paired")
    one, two = wilson(float(a.sum()), n, level=level), wilson(float(b.sum()), n, level=level)
    both, neither = float((a * b).sum()), float(((1 - a) * (1 - b)).sum())
    product = both * neither - float((a * (1 - b)).sum()) * float(((1 - a) * b).sum())
    if product > 0:
        product = max(product - n / 2, 0.0)
    spread = float(a.sum() * (n - a.sum()) * b.sum() * (n - b.sum()))
    phi = product / np.sqrt(spread) if spread else 0.0

    def reach(x: float, y: float) -> float:
        return float(np.sqrt(max(x * x - 2 * phi * x * y + y * y, 0.0)))

    below = reach(one.estimate - one.low, two.high - two.estimate)
    above = reach(one.high - one.estimate, two.estimate - two.low)
    difference = one.estimate - two.estimate
    return Interval(difference, difference - below, difference + above, n, level, "newcombe paired")


def student_mean(values: ArrayLike, *, level: float = 0.95) -> Interval:
    """Mean of independent numbers with Student's t interval; fewer than two numbers give infinite bounds."""
    x = np.asarray(values, dtype=np.float64).ravel()
    if x.size < 2:
        estimate = float(x[0]) if x.size else float("nan")
        return Interval(estimate, float("-inf"), float("inf"), int(x.size), level, "student")
    half = _student_quantile(x.size - 1, level) * float(x.std(ddof=1)) / np.sqrt(x.size)
    return Interval(float(x.mean()), float(x.mean() - half), float(x.mean() + half), x.size, level, "student")


def welch_difference(first: ArrayLike, second: ArrayLike, *, level: float = 0.95) -> Interval:
    """Mean of `first` minus mean of `second` (independent units) with Welch's t interval."""
    a = np.asarray(first, dtype=np.float64).ravel()
    b = np.asarray(second, dtype=np.float64).ravel()
    n = int(a.size + b.size)
    if a.size < 2 or b.size < 2:
        estimate = float(a.mean() - b.mean()) if a.size and b.size else float("nan")
        return Interval(estimate, float("-inf"), float("inf"), n, level, "welch")
    difference = float(a.mean() - b.mean())
    va, vb = float(a.var(ddof=1)) / a.size, float(b.var(ddof=1)) / b.size
    if va + vb == 0.0:
        return Interval(difference, difference, difference, n, level, "welch")
    freedom = (va + vb) ** 2 / (va**2 / (a.size - 1) + vb**2 / (b.size - 1))
    half = _student_quantile(freedom, level) * float(np.sqrt(va + vb))
    return Interval(difference, difference - half, difference + half, n, level, "welch")


def crossed_mean(
    values: ArrayLike,
    units: Sequence[Hashable] | NDArray[Any],
    items: Sequence[Hashable] | NDArray[Any],
    *,
    level: float = 0.95,
) -> Interval:
    """Mean of unit means when units (clinicians) judge shared items (prompts), both a sample of many; values (N,).

    The variance adds what units share and what items share (Cameron, Gelbach and Miller 2011, JBES 29:238) and is
    never taken below either alone; Student's t on the smaller number of clusters. `n` counts units.
    """
    x = np.asarray(values, dtype=np.float64).ravel()
    first, second = _codes(units, x.size), _codes(items, x.size)
    counts = np.bincount(first)
    fewest = min(counts.size, int(second.max()) + 1) if x.size else 0
    weights = 1.0 / (counts[first] * counts.size) if x.size else x
    estimate = float(weights @ x) if x.size else float("nan")
    if fewest < 2:
        return Interval(estimate, float("-inf"), float("inf"), counts.size, level, "two-way clusters")
    residual = weights * (x - estimate)
    by_unit, by_item = _cluster_variance(residual, first), _cluster_variance(residual, second)
    by_both = _cluster_variance(residual, first * (int(second.max()) + 1) + second)
    variance = max(by_unit + by_item - by_both, by_unit, by_item)
    half = _student_quantile(fewest - 1, level) * float(np.sqrt(variance))
    return Interval(estimate, estimate - half, estimate + half, counts.size, level, "two-way clusters")


def cluster_bootstrap_mean(
    values: ArrayLike,
    clusters: Sequence[Hashable] | NDArray[Any],
    *,
    seed: int,
    draws: int = 2000,
    level: float = 0.95,
) -> Interval:
    """Mean of `values` (N,) with a percentile interval from resampling whole clusters (N,), prompts say.

    On `candidate - baseline` it is a paired difference; for a win rate or an accuracy take `cluster_share`.
    One cluster alone says nothing about the next: its bounds are infinite. `n` counts clusters.
    """
    x = np.asarray(values, dtype=np.float64).ravel()
    sums, counts = _cluster_totals(x, clusters)
    if counts.size < 2:
        estimate = float(x.mean()) if x.size else float("nan")
        return Interval(estimate, float("-inf"), float("inf"), int(counts.size), level, "cluster bootstrap")
    means = _resampled_means(sums, counts, draws=draws, rng=np.random.default_rng(seed))
    low, high = np.quantile(means, [0.5 - level / 2, 0.5 + level / 2])
    return Interval(float(x.mean()), float(low), float(high), counts.size, level, "cluster bootstrap")


def cluster_share(
    values: ArrayLike,
    clusters: Sequence[Hashable] | NDArray[Any],
    *,
    seed: int,
    draws: int = 2000,
    level: float = 0.95,
) -> Interval:
    """Mean of shares (N,) of 0, 0.5 for a tie, or 1, with an interval from resampling whole clusters (N,).

    Where one cluster, or clusters that all came out alike, leave nothing to resample, the interval is Wilson's on the
    number of clusters: no spread among few is no certainty.
    """
    found = cluster_bootstrap_mean(values, clusters, seed=seed, draws=draws, level=level)
    if found.n == 1 or found.high - found.low < _NO_SPREAD:
        return wilson(found.estimate * found.n, found.n, level=level)
    return found


def paired_difference(
    first: ArrayLike,
    second: ArrayLike,
    clusters: Sequence[Hashable] | NDArray[Any],
    *,
    seed: int,
    draws: int = 2000,
    level: float = 0.95,
) -> Interval:
    """Mean of `first - second`, paired row by row (N,), with whole clusters (N,) resampled."""
    a = np.asarray(first, dtype=np.float64).ravel()
    b = np.asarray(second, dtype=np.float64).ravel()
    if a.shape != b.shape:
        raise DataError(f"a paired difference needs equal lengths, got {a.size} and {b.size}")
    return cluster_bootstrap_mean(a - b, clusters, seed=seed, draws=draws, level=level)


def _normal_quantile(level: float) -> float:
    from scipy.special import ndtri  # here, because the server starts with this module and may never ask for it

    return float(ndtri(0.5 + level / 2))


def _student_quantile(freedom: float, level: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 0.5 + level / 2))


def _codes(clusters: Sequence[Hashable] | NDArray[Any], size: int) -> NDArray[np.int64]:
    if len(clusters) != size:
        raise DataError(f"each value needs one cluster, got {size} values and {len(clusters)} clusters")
    index: dict[Hashable, int] = {}
    return np.fromiter((index.setdefault(c, len(index)) for c in clusters), dtype=np.int64, count=size)


def _cluster_totals(values: FloatArray, clusters: Sequence[Hashable] | NDArray[Any]) -> tuple[FloatArray, FloatArray]:
    codes = _codes(clusters, values.size)
    if not np.isfinite(values).all():
        raise DataError("a mean needs finite values; drop or impute the missing ones first")
    sums = np.bincount(codes, weights=values).astype(np.float64)
    return sums, np.bincount(codes).astype(np.float64)


def _cluster_variance(residual: FloatArray, codes: NDArray[np.int64]) -> float:
    sums = np.bincount(codes, weights=residual)
    clusters = np.unique(codes).size
    return float((sums**2).sum()) * clusters / max(1, clusters - 1)


def _resampled_means(sums: FloatArray, counts: FloatArray, *, draws: int, rng: np.random.Generator) -> FloatArray:
    block = max(1, _BLOCK_CELLS // sums.size)
    means = np.empty(draws)
    for start in range(0, draws, block):
        rows = min(block, draws - start)
        picked = rng.integers(0, sums.size, size=(rows, sums.size))
        means[start : start + rows] = sums[picked].sum(axis=1) / counts[picked].sum(axis=1)
    return means
