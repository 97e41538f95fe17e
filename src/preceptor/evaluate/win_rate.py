"""Scores or verdicts of paired answers in; win rates with intervals, also with length held equal, out."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from preceptor.errors import DataError
from preceptor.stats.intervals import Interval, cluster_share

FloatArray = NDArray[np.float64]
Verdict = Literal["first", "second", "tie"]

_NEWTON_STEPS = 30


def outcomes_from_scores(candidate: ArrayLike, baseline: ArrayLike, *, tie_margin: float = 0.0) -> FloatArray:
    """1 where the candidate scores higher, 0 where lower, 0.5 within `tie_margin` (N,)."""
    a, b = np.asarray(candidate, dtype=np.float64), np.asarray(baseline, dtype=np.float64)
    if a.shape != b.shape:
        raise DataError(f"Paired scores need equal lengths, got {a.size} and {b.size}.")
    difference = a - b
    outcomes: FloatArray = np.where(np.abs(difference) <= tie_margin, 0.5, (difference > 0).astype(np.float64))
    return outcomes


def outcome_from_orders(candidate_first: Verdict, candidate_second: Verdict) -> float:
    """One outcome from a judge asked in both orders: a verdict that changes with the order is a tie."""
    one = {"first": 1.0, "second": 0.0, "tie": 0.5}[candidate_first]
    two = {"first": 0.0, "second": 1.0, "tie": 0.5}[candidate_second]
    return one if one == two else 0.5


def win_rate(outcomes: ArrayLike, prompts: Sequence[Hashable], *, seed: int) -> Interval:
    """Mean outcome, ties half, with a 95 % interval over whole prompts (N,)."""
    return cluster_share(outcomes, prompts, seed=seed)


def length_controlled_win_rate(
    outcomes: ArrayLike, length_differences: ArrayLike, prompts: Sequence[Hashable], *, seed: int, draws: int = 400
) -> Interval:
    """The win rate expected if both answers were equally long, with a 95 % prompt-bootstrap interval.

    Logistic regression of the outcome (N,) on the standardized length difference (N,), read at zero; the idea
    of length-controlled AlpacaEval (arXiv 2404.04475) without its per-prompt term. One win and one loss at
    equal length are added to each fit, so that it exists when one side wins everything.
    """
    y = np.asarray(outcomes, dtype=np.float64)
    x = np.asarray(length_differences, dtype=np.float64)
    if y.shape != x.shape or len(prompts) != y.size:
        raise DataError("Each outcome needs one length difference and one prompt.")
    index: dict[Hashable, int] = {}
    codes = np.array([index.setdefault(prompt, len(index)) for prompt in prompts], dtype=np.int64)
    n = len(index)
    if n < 2:
        return Interval(float(y.mean()) if y.size else float("nan"), float("-inf"), float("inf"), n, 0.95, "length")
    scale = float(x.std())
    x = x / scale if scale > 0 else np.zeros_like(x)
    estimate = _win_at_equal_length(x, y, np.ones_like(y))
    rng = np.random.default_rng(seed)
    fits = []
    for _ in range(draws):
        times = np.bincount(rng.integers(0, n, n), minlength=n).astype(np.float64)
        fits.append(_win_at_equal_length(x, y, times[codes]))
    low, high = np.quantile(fits, [0.025, 0.975])
    return Interval(estimate, float(low), float(high), n, 0.95, "logistic in length, prompt bootstrap")


def _win_at_equal_length(x: FloatArray, y: FloatArray, weights: FloatArray) -> float:
    """Newton's method on the weighted log-likelihood of sigmoid(a + b x); returns sigmoid(a)."""
    x, y, weights = np.append(x, 0.0), np.append(y, 0.5), np.append(weights, 2.0)
    design = np.stack([np.ones_like(x), x], axis=1)  # (N + 1, 2)
    ridge = np.diag([0.0, 0.1])
    beta = np.zeros(2)
    for _ in range(_NEWTON_STEPS):
        p = 1 / (1 + np.exp(-np.clip(design @ beta, -30, 30)))
        gradient = design.T @ (weights * (y - p)) - ridge @ beta
        hessian = (design * (weights * p * (1 - p))[:, None]).T @ design + ridge + 1e-9 * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        beta = beta + np.clip(step, -2, 2)
        if np.abs(step).max() < 1e-9:
            break
    return float(1 / (1 + np.exp(-np.clip(beta[0], -30, 30))))
