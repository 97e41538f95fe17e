"""Pairs and a reader of their features go in, a Bradley-Terry head with its bootstrapped ensemble comes out.

How far the weights are shrunk is decided by cross-validation over prompts. The likeness of answer and prompt, which
predicts best while pairs are few, is hardly shrunk: with little data the head falls back to it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from preceptor.modeling.features import FORM, RELATION, feature_blocks
from preceptor.modeling.frozen_head import Array, FrozenHead
from preceptor.reward import bradley_terry
from preceptor.reward.config import RewardConfig
from preceptor.reward.dataset import Pair
from preceptor.reward.parts import pair_labels, pair_margins, pair_weights
from preceptor.reward.reader import Reader, mismatched_pairs, partners, topic_gate

_L2 = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003)
_FOLDS = 5
_FEW_RATERS = 5  # below this a bootstrap of raters leaves out too much; prompts are drawn instead
_LIKENESS_SIZE = 3.0  # measured on four data sets: docs/benchmarks/reward.md


@dataclass(frozen=True)
class FrozenFit:
    """The head, whose scores have mean 0 on the answers of the pairs, and what its fitting found."""

    head: FrozenHead
    std: float
    """Deviation of the raw scores on those answers; 1 where they are all alike."""
    l2: float
    margins: Array
    """(N,) margins of the pairs, each from a fit that left its prompt out."""
    loss: float
    """Mean cross entropy of those margins."""
    accuracy: float
    mismatched: int
    bootstrapped_by: str


def fit_head(
    pairs: Sequence[Pair],
    reader: Reader,
    *,
    config: RewardConfig,
    ensemble: int,
    progress: Callable[[int, int], None] | None = None,
) -> FrozenFit:
    """Fit a head to `pairs`, and `ensemble` more to bootstrap samples of them."""
    matches = partners(pairs, seed=config.seed)
    gate = topic_gate(reader, matches)
    others = mismatched_pairs(matches) if config.mismatch_weight > 0 else []
    chosen, rejected = reader.chosen(pairs, gate=gate), reader.rejected(pairs, gate=gate)
    center, scale = _scaling(np.concatenate([chosen, rejected]).astype(np.float64), reader)
    differences = (chosen.astype(np.float64) - rejected) * scale
    weights, targets, labels = pair_weights(pairs), pair_margins(pairs, scale=config.margin_scale), pair_labels(pairs)
    if others:
        wrong = reader.rejected(others, gate=gate)
        right = reader.chosen(others, gate=gate).astype(np.float64)
        differences = np.concatenate([differences, (right - wrong) * scale])
        weights = np.concatenate([weights, config.mismatch_weight * pair_weights(others)])
        targets, labels = np.append(targets, np.zeros(len(others))), np.append(labels, np.ones(len(others)))
    rows = [*pairs, *others]
    prompts = [pair.prompt for pair in rows]
    l2, margins = bradley_terry.choose_l2(
        differences,
        bradley_terry.grouped_folds(prompts, folds=min(_FOLDS, len(set(prompts))), seed=config.seed),
        choices=_L2,
        weights=weights,
        targets=targets,
        labels=labels,
        judged=np.arange(len(rows)) < len(pairs),
    )
    groups, by = _bootstrap_groups(rows)
    fitted = [bradley_terry.fit(differences, l2=l2, weights=weights, targets=targets, labels=labels)]
    for counts in bradley_terry.bootstrap_counts(groups, draws=ensemble, seed=config.seed):
        drawn = counts > 0
        fitted.append(
            bradley_terry.fit(
                differences[drawn],
                l2=l2,
                weights=(weights * counts)[drawn],
                targets=targets[drawn],
                labels=labels[drawn],
            )
        )
        if progress is not None:
            progress(len(fitted), 1 + ensemble)
    head = FrozenHead(center, scale, np.stack(fitted), np.zeros(len(fitted)), gate=gate)
    raw = head.raw(np.concatenate([chosen, rejected]))
    std = float(raw[0].std())
    own = margins[: len(pairs)]
    return FrozenFit(
        FrozenHead(center, scale, head.weights, raw.mean(1), gate=gate),
        std=std if std > 1e-9 else 1.0,
        l2=l2,
        margins=own,
        loss=float((pair_weights(pairs) * bradley_terry.loss(own, labels=pair_labels(pairs))).sum())
        / float(pair_weights(pairs).sum()),
        accuracy=float(((own > 0) + 0.5 * (own == 0)).mean()),
        mismatched=len(others),
        bootstrapped_by=by,
    )


def _scaling(features: Array, reader: Reader) -> tuple[Array, Array]:
    """Center (F,) and scale (F,): how large each feature is made, so how little its weight is shrunk.

    A wide block shares one size. A feature that hardly varies is left out, by a scale of 0.
    """
    relevance = features.shape[1] - max(b.stop for b in feature_blocks(reader.width, length=reader.length).values())
    blocks = feature_blocks(reader.width, length=reader.length, relevance=relevance)
    sizes = np.full(features.shape[1], 1.0 / np.sqrt(reader.width))
    few = 2.0 / np.sqrt(RELATION + FORM)
    for name in ("relation", "form", "length"):
        if name in blocks:
            sizes[blocks[name]] = few
    sizes[blocks["relation"].start] = _LIKENESS_SIZE
    if relevance:
        sizes[blocks["relevance"]] = _LIKENESS_SIZE / np.sqrt(relevance)
    center, spread = features.mean(0), features.std(0)
    return center, np.where(spread > 1e-6, sizes / np.maximum(spread, 1e-6), 0.0)


def _bootstrap_groups(pairs: Sequence[Pair]) -> tuple[Sequence[Hashable], str]:
    raters = [pair.rater for pair in pairs]
    if None not in raters and len(set(raters)) >= _FEW_RATERS:
        return raters, "rater"
    return [pair.prompt for pair in pairs], "prompt"
