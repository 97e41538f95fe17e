"""Features of chosen and rejected answers go in, a Bradley-Terry head with its bootstrapped ensemble comes out.

How far the weights are shrunk is decided by cross-validation over prompts. The likeness of answer and prompt, which
predicts best while pairs are few, is hardly shrunk: with little data the head falls back to it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preceptor.modeling.features import FORM, RELATION, feature_blocks
from preceptor.modeling.frozen_head import Array, FrozenHead
from preceptor.reward import bradley_terry

_L2 = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003)
_FOLDS = 5
_FEW_RATERS = 5  # below this a bootstrap of raters leaves out too much; prompts are drawn instead
_LIKENESS_SIZE = 3.0  # measured on four data sets: benchmarks/reward_accuracy.py


@dataclass(frozen=True)
class FrozenFit:
    """The head, the shrinkage that cross-validation chose, and the out-of-sample margins (N,)."""

    head: FrozenHead
    l2: float
    margins: Array
    accuracy: float
    bootstrapped_by: str


def fit_head(
    chosen: NDArray[np.float32],
    rejected: NDArray[np.float32],
    *,
    prompts: Sequence[str],
    raters: Sequence[str | None],
    weights: Array,
    targets: Array,
    width: int,
    ensemble: int,
    length: bool,
    seed: int,
    progress: Callable[[int, int], None] | None = None,
) -> FrozenFit:
    """Fit the head on features of chosen and rejected answers, (N, F) each; `targets` are the margins of the pairs."""
    both = np.concatenate([chosen, rejected]).astype(np.float64)
    center, spread = both.mean(0), both.std(0)
    scale = np.where(spread > 1e-6, _sizes(width, length) / np.maximum(spread, 1e-6), 0.0)
    scaled = (chosen.astype(np.float64) - rejected.astype(np.float64)) * scale
    groups, by = _bootstrap_groups(prompts, raters)
    draws = bradley_terry.bootstrap_counts(groups, draws=ensemble, seed=seed)
    l2, margins = bradley_terry.choose_l2(
        scaled,
        bradley_terry.grouped_folds(prompts, folds=min(_FOLDS, len(set(prompts))), seed=seed),
        choices=_L2,
        weights=weights,
        targets=targets,
    )
    rows = [bradley_terry.fit(scaled, l2=l2, weights=weights, targets=targets)]
    for counts in draws:
        drawn = counts > 0
        rows.append(bradley_terry.fit(scaled[drawn], l2=l2, weights=(weights * counts)[drawn], targets=targets[drawn]))
        if progress is not None:
            progress(len(rows), 1 + ensemble)
    head = FrozenHead(center, scale, np.stack(rows), np.zeros(len(rows)))
    accuracy = float(((margins > 0) + 0.5 * (margins == 0)).mean())
    return FrozenFit(head, l2, margins, accuracy, by)


def _sizes(width: int, length: bool) -> Array:
    """How large each feature is made, so how little its weight is shrunk; a wide block shares one size."""
    blocks = feature_blocks(width, length=length)
    sizes = np.full(max(block.stop for block in blocks.values()), 1.0 / np.sqrt(width))
    few = 2.0 / np.sqrt(RELATION + FORM)
    for name in ("relation", "form", "length"):
        if name in blocks:
            sizes[blocks[name]] = few
    sizes[blocks["relation"].start] = _LIKENESS_SIZE
    return sizes


def _bootstrap_groups(prompts: Sequence[str], raters: Sequence[str | None]) -> tuple[Sequence[Hashable], str]:
    if None not in raters and len(set(raters)) >= _FEW_RATERS:
        return raters, "rater"
    return prompts, "prompt"
