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

    # einsum, not @: products of a matrix and a vector gain nothing from BLAS threads, and lose 50-fold where another
    # process holds a core
    def objective(w: Array) -> tuple[float, Array]:
        margins = np.einsum("nf,f->n", differences, w) - goal
        value = float((share * np.logaddexp(0.0, -margins)).sum()) + 0.5 * l2 * float((w * w).sum())
        return value, l2 * w - np.einsum("n,nf->f", share * expit(-margins), differences)

    start = np.zeros(differences.shape[1])
    found = minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": 500, "ftol": 1e-9})
    solution: Array = found.x
    return solution


def choose_l2(
    differences: Array, folds: NDArray[np.int64], *, choices: Sequence[float], weights: Array, targets: Array
) -> tuple[float, Array]:
    """The shrinkage with the lowest loss on pairs that were left out, and the margins (N,) of those pairs then.

    With one fold nothing can be left out: the strongest shrinkage and margins of 0 come back.
    """
    best, best_loss, best_margins = max(choices), np.inf, np.zeros(len(differences))
    for l2 in choices if folds.max() > 0 else ():
        margins = np.zeros(len(differences))
        for fold in range(int(folds.max()) + 1):
            inside = folds != fold
            w = fit(differences[inside], l2=l2, weights=weights[inside], targets=targets[inside])
            margins[~inside] = differences[~inside] @ w
        value = float((weights * loss(margins)).sum())
        if value < best_loss:
            best, best_loss, best_margins = l2, value, margins
    return best, best_margins


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
