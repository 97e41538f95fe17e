"""Scores of many answers to each prompt in; what the best of n of them is worth, and at which KL, out.

Sampling n answers and keeping the one that the reward model likes best needs no training. So it is the baseline for
any training: a trained policy that scores less at the same KL was not worth its training.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from preceptor.errors import DataError, InputError
from preceptor.stats.intervals import Interval, cluster_bootstrap_mean

SIZES = (1, 2, 4, 8, 16)

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class BestOfN:
    """What the best of `n` answers is worth; intervals resample prompts."""

    n: int
    kl: float
    """Nats an answer from the sampled policy; see `kl_of_best_of_n`."""
    score: Interval
    """Mean score by the reward model that chose."""
    judged: Interval | None = None
    """Mean score of the same answers by another judge, where there is one."""


def kl_of_best_of_n(n: int) -> float:
    """log n - (n - 1) / n: the KL of the best of `n` from the policy that was sampled, in nats an answer.

    Exact where no two answers score the same, else an upper bound (Beirami et al. 2024, arXiv:2401.01879).
    """
    if n < 1:
        raise InputError(f"The best of {n} answers does not exist: n is at least 1.")
    return math.log(n) - (n - 1) / n


def rank_weights(count: int, n: int) -> FloatArray:
    """Probability (count,) that the answer of each rank, worst first, is the best of `n` drawn from `count`.

    The answer of rank i is the best of C(i - 1, n - 1) among C(count, n) draws without replacement: with these
    weights a mean over ranks is the unbiased estimate of the expected best.
    """
    if not 1 <= n <= count:
        raise InputError(f"The best of {n} cannot be estimated from {count} answers to a prompt: sample more.")
    return np.array([math.comb(rank, n - 1) / math.comb(count, n) for rank in range(count)], dtype=np.float64)


def expected_best(scores: ArrayLike, n: int, *, values: ArrayLike | None = None) -> FloatArray:
    """For each prompt (P,), the expected value of the answer that scores best among `n`.

    `scores` (P, N) choose; `values` (P, N) are what the chosen answer is worth, the scores themselves when absent.
    Answers of equal score share their ranks, so that their order does not matter.
    """
    chosen_by = np.asarray(scores, dtype=np.float64)
    worth = chosen_by if values is None else np.asarray(values, dtype=np.float64)
    if chosen_by.ndim != 2 or chosen_by.shape != worth.shape:
        raise DataError(f"Scores are a row a prompt, with a value a score; got {chosen_by.shape} and {worth.shape}.")
    if not (np.isfinite(chosen_by).all() and np.isfinite(worth).all()):
        raise DataError("Some scores are not numbers: the best answer cannot be told.")
    weights = rank_weights(chosen_by.shape[1], n)
    best = np.empty(len(chosen_by))
    for place, (row, value) in enumerate(zip(chosen_by, worth, strict=True)):
        _, tied = np.unique(row, return_inverse=True)
        mass = np.zeros(tied.max() + 1)
        np.add.at(mass, np.sort(tied), weights)
        best[place] = (mass[tied] / np.bincount(tied)[tied] * value).sum()
    return best


def best_of_n_curve(
    scores: ArrayLike, *, judged: ArrayLike | None = None, sizes: Sequence[int] = SIZES, seed: int
) -> list[BestOfN]:
    """A point for each size that the N answers to each prompt allow; `scores` and `judged` are (P, N)."""
    table = np.asarray(scores, dtype=np.float64)
    points = []
    for n in sizes:
        if table.ndim == 2 and n > table.shape[1]:
            continue
        best = expected_best(table, n)
        point = BestOfN(n, kl_of_best_of_n(n), cluster_bootstrap_mean(best, range(len(best)), seed=seed))
        if judged is not None:
            worth = expected_best(table, n, values=judged)
            point = replace(point, judged=cluster_bootstrap_mean(worth, range(len(worth)), seed=seed))
        points.append(point)
    return points
