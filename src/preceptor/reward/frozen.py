"""Features of chosen and rejected answers go in, a Bradley-Terry head with its bootstrapped ensemble comes out.

How many features to use, and how far to shrink their weights, is decided by cross-validation over prompts: with few
pairs the likeness of answer and prompt alone may predict best, with more the content adds to it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from preceptor.modeling.features import FORM, RELATION, feature_blocks
from preceptor.modeling.frozen_head import Array, FrozenHead
from preceptor.reward import bradley_terry

_L2 = (0.003, 0.01, 0.03, 0.1)
_FOLDS = 5
_FEW_RATERS = 5  # below this a bootstrap of raters leaves out too much; prompts are drawn instead
_DENSE = ("match", "content", "style")


@dataclass(frozen=True)
class FrozenFit:
    """The head, what cross-validation chose, and its out-of-sample margins (N,)."""

    head: FrozenHead
    chosen: str
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
    """Fit the head on features of chosen and rejected answers, (N, F) each; `targets` are the pairs' margins."""
    both = np.concatenate([chosen, rejected]).astype(np.float64)
    center, spread = both.mean(0), both.std(0)
    scales = {
        name: np.where(spread > 1e-6, size / np.maximum(spread, 1e-6), 0.0)
        for name, size in _candidates(width, length).items()
    }
    difference = chosen.astype(np.float64) - rejected.astype(np.float64)
    folds = bradley_terry.grouped_folds(prompts, folds=min(_FOLDS, len(set(prompts))), seed=seed)
    trials = [(name, l2) for name in scales for l2 in _L2]
    total, done = len(trials) + 1 + ensemble, 0
    best: tuple[float, str, float, Array] | None = None
    for name, l2 in trials:
        margins = _out_of_fold(difference * scales[name], folds, l2=l2, weights=weights, targets=targets)
        score = float(weights @ bradley_terry.loss(margins)) / float(weights.sum())
        if best is None or score < best[0]:
            best = (score, name, l2, margins)
        done += 1
        if progress is not None:
            progress(done, total)
    assert best is not None
    _, name, l2, margins = best
    scaled = difference * scales[name]
    groups, by = _bootstrap_groups(prompts, raters)
    rows = [bradley_terry.fit(scaled, l2=l2, weights=weights, targets=targets)]
    for counts in bradley_terry.bootstrap_counts(groups, draws=ensemble, seed=seed):
        drawn = counts > 0
        rows.append(bradley_terry.fit(scaled[drawn], l2=l2, weights=(weights * counts)[drawn], targets=targets[drawn]))
        done += 1
        if progress is not None:
            progress(done, total)
    head = FrozenHead(center, scales[name], np.stack(rows), np.zeros(len(rows)))  # centered, so the offsets are 0
    accuracy = float(((margins > 0) + 0.5 * (margins == 0)).mean())
    return FrozenFit(head, name, l2, margins, accuracy, by)


def _candidates(width: int, length: bool) -> dict[str, Array]:
    """Size of each feature in each candidate; a group's size is shared by its members, 0 leaves it out."""
    blocks = feature_blocks(width, length=length)
    count = max(block.stop for block in blocks.values())
    likeness, relation = np.zeros(count), np.zeros(count)
    few = 2.0 / np.sqrt(RELATION + FORM)
    likeness[blocks["relation"].start] = few
    relation[blocks["relation"]] = relation[blocks["form"]] = few
    if length:
        likeness[blocks["length"]] = relation[blocks["length"]] = few
    everything = relation.copy()
    for name in _DENSE:
        everything[blocks[name]] = 1.0 / np.sqrt(width)
    return {"likeness": likeness, "relation": relation, "everything": everything}


def _out_of_fold(scaled: Array, folds: NDArray[np.int64], *, l2: float, weights: Array, targets: Array) -> Array:
    """The margin of each pair under a head that never saw its prompt; zeros where there is one prompt only."""
    margins = np.zeros(len(scaled))
    if folds.max() == 0:
        return margins
    used = np.flatnonzero(np.abs(scaled).sum(0) > 0)
    scaled = scaled[:, used]
    for fold in range(int(folds.max()) + 1):
        inside = folds != fold
        w = bradley_terry.fit(scaled[inside], l2=l2, weights=weights[inside], targets=targets[inside])
        margins[~inside] = scaled[~inside] @ w
    return margins


def _bootstrap_groups(prompts: Sequence[str], raters: Sequence[str | None]) -> tuple[Sequence[Hashable], str]:
    if None not in raters and len(set(raters)) >= _FEW_RATERS:
        return raters, "rater"
    return prompts, "prompt"
