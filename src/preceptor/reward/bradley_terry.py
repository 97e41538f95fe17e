"""Differences of features between chosen and rejected go in, the weights of a Bradley-Terry model come out.

Bradley and Terry 1952: P(chosen over rejected) = sigmoid(w . (x_chosen - x_rejected)).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

Array = NDArray[np.float64]


def loss(margins: Array, *, targets: Array | None = None) -> Array:
    """-log sigmoid(margin - target) of each pair, (N,)."""
    shifted = margins if targets is None else margins - targets
    return np.logaddexp(0.0, -shifted)


def fit(differences: Array, *, l2: float, weights: Array | None = None, targets: Array | None = None) -> Array:
    """Weights (F,) that minimize the weighted mean loss plus l2 / 2 * |w|^2, over differences (N, F).

    `weights` (N,) count each pair; `targets` (N,) are the margins that a pair should exceed.
    """
    share = np.ones(len(differences)) if weights is None else weights
    share = share / share.sum()
    goal = np.zeros(len(differences)) if targets is None else targets

    def objective(w: Array) -> tuple[float, Array]:
        margins = differences @ w - goal
        value = float(share @ np.logaddexp(0.0, -margins)) + 0.5 * l2 * float(w @ w)
        return value, -(share * expit(-margins)) @ differences + l2 * w

    start = np.zeros(differences.shape[1])
    found = minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": 500, "ftol": 1e-10})
    solution: Array = found.x
    return solution


def grouped_folds(groups: Sequence[Hashable], *, folds: int, seed: int) -> NDArray[np.int64]:
    """The fold of each row, (N,), so that rows of one group share a fold."""
    distinct = list(dict.fromkeys(groups))
    order = np.random.default_rng(seed).permutation(len(distinct))
    fold = {distinct[place]: position % folds for position, place in enumerate(order)}
    return np.array([fold[group] for group in groups], dtype=np.int64)


def bootstrap_counts(groups: Sequence[Hashable], *, draws: int, seed: int) -> Array:
    """How often each row counts in each draw, (draws, N): whole groups are drawn with replacement."""
    distinct = {group: i for i, group in enumerate(dict.fromkeys(groups))}
    codes = np.array([distinct[group] for group in groups])
    rng = np.random.default_rng(seed)
    picked = rng.integers(0, len(distinct), size=(draws, len(distinct)))
    counts = np.stack([np.bincount(row, minlength=len(distinct)) for row in picked]) if draws else np.zeros((0, 1))
    return counts[:, codes].astype(np.float64) if draws else np.zeros((0, len(groups)))


def temperature(margins: Array, *, weights: Array | None = None) -> float:
    """The T > 0 for which sigmoid(margin / T) fits best that every pair was chosen, between 0.05 and 20.

    Out-of-sample margins only: on the pairs that a model was fitted to, it is always too sure.
    """
    share = np.ones(len(margins)) if weights is None else weights
    grid = np.exp(np.linspace(np.log(0.05), np.log(20.0), 241))
    losses = [float(share @ np.logaddexp(0.0, -margins / t)) for t in grid]
    return float(grid[int(np.argmin(losses))])
