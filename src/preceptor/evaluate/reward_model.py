"""A reward model's scores of held-out pairs in; its accuracy beside 'the longer answer wins' out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from preceptor.evaluate.quality import word_count
from preceptor.stats.intervals import cluster_share


def accuracy_report(
    chosen_scores: ArrayLike,
    rejected_scores: ArrayLike,
    *,
    pairs: Sequence[dict[str, Any]],
    train_pairs: Sequence[dict[str, Any]],
    seed: int,
) -> dict[str, Any]:
    """Accuracy on held-out `pairs` with its interval, beside that of length alone.

    Length alone prefers longer or shorter answers, whichever the training pairs prefer.
    Equal scores count half. With no held-out pair everything is None: nothing was measured. Pairs of one prompt alone
    say nothing of the next, so that `margin_over_length`, which a gate reads, is None.
    """
    if not pairs:
        return {"n": 0, "accuracy": None, "length_only": None, "margin_over_length": None}
    difference = np.asarray(chosen_scores, dtype=np.float64) - np.asarray(rejected_scores, dtype=np.float64)
    correct = np.where(difference == 0, 0.5, (difference > 0).astype(np.float64))
    interval = cluster_share(correct, [pair["prompt"] for pair in pairs], seed=seed)
    sign = 1.0 if _longer_wins(train_pairs or pairs).mean() >= 0.5 else -1.0
    longer = _longer_wins(pairs)
    length_only = float((longer if sign > 0 else 1 - longer).mean())
    found: dict[str, Any] = {
        "n": len(pairs),
        "prompts": interval.n,
        "accuracy": interval.estimate,
        "low": interval.low,
        "high": interval.high,
        "length_only": length_only,
        "length_direction": "longer" if sign > 0 else "shorter",
        "margin_over_length": interval.estimate - length_only,
    }
    if interval.n < 2:
        found |= {"margin_over_length": None, "not_measured": f"all {len(pairs)} held-out pairs are of one prompt"}
    return found


def _longer_wins(pairs: Sequence[dict[str, Any]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    difference = np.array([word_count(pair["chosen"]) - word_count(pair["rejected"]) for pair in pairs])
    return np.where(difference == 0, 0.5, (difference > 0).astype(np.float64))
