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


def loss(margins: Array, *, targets: Array | float = 0.0, labels: Array | float = 1.0) -> Array:
    """Cross entropy of each pair, (N,): -y log sigmoid(margin - target) - (1 - y) log sigmoid(-margin).

    The label y is how likely the chosen answer is the better one: 1 for a plain preference, 0.5 for a tie.
    """
    value: Array = labels * np.logaddexp(0.0, targets - margins) + (1.0 - labels) * np.logaddexp(0.0, margins)
    return value


def fit(
    differences: Array,
    *,
    l2: float,
    weights: Array | None = None,
    targets: Array | None = None,
    labels: Array | None = None,
) -> Array:
    """Weights (F,) that minimize the weighted mean loss plus l2 / 2 * |w|^2, over differences (N, F).

    `weights` (N,) count each pair; `targets` (N,) are the margins that a pair should exceed; `labels` (N,) are its
    soft labels.
    """
    compact, basis = _compact(differences)
    count = len(differences)
    share, goal, truth = _filled(weights, count, 1.0), _filled(targets, count, 0.0), _filled(labels, count, 1.0)
    solution = _solve(compact, l2, share, goal, truth, np.zeros(compact.shape[1]))
    return solution if basis is None else np.einsum("fk,k->f", basis, solution)


def choose_l2(
    differences: Array,
    folds: NDArray[np.int64],
    *,
    choices: Sequence[float],
    weights: Array,
    targets: Array,
    labels: Array | None = None,
    judged: NDArray[np.bool_] | None = None,
) -> tuple[float, Array]:
    """The shrinkage with the lowest loss on pairs that were left out, and the margins (N,) of those pairs then.

    Where `judged` is given, only those pairs decide. With one fold nothing can be left out: the strongest shrinkage and
    margins of 0 come back.
    """
    best, best_loss, best_margins = max(choices), np.inf, np.zeros(len(differences))
    truth = _filled(labels, len(differences), 1.0)
    counted = weights if judged is None else weights * judged
    compact, _ = _compact(differences)
    starts = np.zeros((int(folds.max()) + 1, compact.shape[1]))
    for l2 in choices if folds.max() > 0 else ():
        margins = np.zeros(len(differences))
        for fold in range(int(folds.max()) + 1):
            inside = folds != fold
            w = _solve(compact[inside], l2, weights[inside], targets[inside], truth[inside], starts[fold])
            starts[fold] = w  # the solution of the next shrinkage is near
            margins[~inside] = np.einsum("nf,f->n", compact[~inside], w)
        value = float((counted * loss(margins, labels=truth)).sum())
        if value < best_loss:
            best, best_loss, best_margins = l2, value, margins
    return best, best_margins


def _solve(differences: Array, l2: float, weights: Array, targets: Array, labels: Array, start: Array) -> Array:
    share = weights / weights.sum()

    # einsum, not @: products of a matrix and a vector gain nothing from BLAS threads, and lose 50-fold where another
    # process holds a core
    def objective(w: Array) -> tuple[float, Array]:
        margins = np.einsum("nf,f->n", differences, w)
        value = float((share * loss(margins, targets=targets, labels=labels)).sum()) + 0.5 * l2 * float((w * w).sum())
        slope = share * ((1.0 - labels) * expit(margins) - labels * expit(targets - margins))
        return value, l2 * w + np.einsum("n,nf->f", slope, differences)

    found = minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": 500, "ftol": 1e-9})
    solution: Array = found.x
    return solution


def _compact(differences: Array) -> tuple[Array, Array | None]:
    """The same rows in as few dimensions as there are rows, and the basis (F, N) that leads back; None if F is smaller.

    The shrunk solution lies in the span of the rows, so nothing is lost.
    """
    rows, features = differences.shape
    if rows >= features:
        return differences, None
    basis, triangle = np.linalg.qr(differences.T)
    return np.ascontiguousarray(triangle.T), basis


def _filled(values: Array | None, count: int, default: float) -> Array:
    return np.full(count, default) if values is None else values


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


def temperature(margins: Array, *, weights: Array | None = None, labels: Array | None = None) -> float:
    """The T > 0 for which sigmoid(margin / T) fits the labels best, between 0.05 and 20; labels are 1 unless given.

    Where every T fits alike (margins of 0, or none that count) it is 1. Out-of-sample margins only: on the pairs that a
    model was fitted to, it is always too sure.
    """
    share, truth = _filled(weights, len(margins), 1.0), _filled(labels, len(margins), 1.0)
    grid = np.exp(np.linspace(np.log(0.05), np.log(20.0), 241))
    losses = [float(share @ loss(margins / t, labels=truth)) for t in grid]
    if max(losses) - min(losses) < 1e-12:
        return 1.0
    return float(grid[int(np.argmin(losses))])
