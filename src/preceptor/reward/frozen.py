"""Pairs and a reader of their features go in, a Bradley-Terry head with its bootstrapped ensemble comes out.

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
from preceptor.reward.config import RewardConfig
from preceptor.reward.dataset import Pair
from preceptor.reward.parts import decided_pairs, pair_labels, pair_margins, pair_weights
from preceptor.reward.reader import Reader, mismatched_pairs, partners, topic_gate

_L2 = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003)
_FOLDS = 5
_FEW_RATERS = 5  # below this a bootstrap of raters leaves out too much; prompts are drawn instead
_TOLERATED = 0.01  # fall of cross-validated accuracy for which mismatched answers are still learned from
_LIKENESS_SIZE = 3.0  # measured on four data sets: docs/benchmarks/reward.md


@dataclass(frozen=True)
class FrozenFit:
    """The head, whose scores have mean 0 on the answers of the pairs, and what its fitting found."""

    head: FrozenHead
    std: float
    """Deviation of the raw scores on those answers; 1 where they are all alike."""
    l2: float
    margins: Array
    """(N,) margins of the pairs and ties, each from a fit that left its prompt out."""
    loss: float
    """Mean cross entropy of those margins, over the pairs that are no ties; so is `accuracy`."""
    accuracy: float
    mismatched: int
    bootstrapped_by: str


@dataclass(frozen=True)
class _Rows:
    """What is fitted: differences (N, F), and weight, target and label of each row."""

    pairs: Sequence[Pair]
    differences: Array
    weights: Array
    targets: Array
    labels: Array

    def fit(self, l2: float, counts: Array | None = None) -> Array:
        """Weights (F,); `counts` (N,) is how often a bootstrap drew each row."""
        drawn = np.ones(len(self.pairs), dtype=bool) if counts is None else counts > 0
        weights = self.weights if counts is None else self.weights * counts
        return bradley_terry.fit(
            self.differences[drawn],
            l2=l2,
            weights=weights[drawn],
            targets=self.targets[drawn],
            labels=self.labels[drawn],
        )


def fit_head(
    pairs: Sequence[Pair],
    reader: Reader,
    *,
    config: RewardConfig,
    ensemble: int,
    progress: Callable[[int, int], None] | None = None,
) -> FrozenFit:
    """Fit a head to `pairs`, and `ensemble` more to bootstrap samples of them. Ties are fitted to and judge nothing.

    Mismatched answers are learned from unless the cross-validated accuracy on the pairs falls by it: where a refusal is
    right whatever was asked, what the raters said comes first.
    """
    matches = partners(pairs, seed=config.seed)
    gate = topic_gate(reader, matches)
    chosen, rejected = reader.chosen(pairs, gate=gate), reader.rejected(pairs, gate=gate)
    center, scale = _scaling(np.concatenate([chosen, rejected]).astype(np.float64), reader)
    targets, labels = pair_margins(pairs, scale=config.margin_scale), pair_labels(pairs)
    rows = _Rows(pairs, (chosen.astype(np.float64) - rejected) * scale, pair_weights(pairs), targets, labels)
    decided = decided_pairs(pairs)
    l2, margins, loss = _cross_validated(rows, decided, seed=config.seed)
    others = mismatched_pairs(matches) if config.mismatch_weight > 0 else []
    if others:
        right, wrong = reader.chosen(others, gate=gate), reader.rejected(others, gate=gate)
        more = _Rows(
            [*pairs, *others],
            np.concatenate([rows.differences, (right.astype(np.float64) - wrong) * scale]),
            np.concatenate([rows.weights, config.mismatch_weight * pair_weights(others)]),
            np.append(targets, np.zeros(len(others))),
            np.append(labels, np.ones(len(others))),
        )
        found = _cross_validated(more, decided, seed=config.seed)
        if _right(found[1][decided]) >= _right(margins[decided]) - _TOLERATED:
            rows, (l2, margins, loss) = more, found
    groups, by = _bootstrap_groups(rows.pairs)
    fitted = [rows.fit(l2)]
    for counts in bradley_terry.bootstrap_counts(groups, draws=ensemble, seed=config.seed):
        fitted.append(rows.fit(l2, counts))
        if progress is not None:
            progress(len(fitted), 1 + ensemble)
    head = FrozenHead(center, scale, np.stack(fitted), np.zeros(len(fitted)), gate=gate)
    raw = head.raw(np.concatenate([chosen, rejected]))
    std = float(raw[0].std())
    return FrozenFit(
        FrozenHead(center, scale, head.weights, raw.mean(1), gate=gate),
        std=std if std > 1e-9 else 1.0,
        l2=l2,
        margins=margins,
        loss=loss,
        accuracy=_right(margins[decided]),
        mismatched=len(rows.pairs) - len(pairs),
        bootstrapped_by=by,
    )


def _cross_validated(rows: _Rows, decided: NDArray[np.bool_], *, seed: int) -> tuple[float, Array, float]:
    """The best shrinkage for the pairs `decided` (N,) of the first N rows, the margins (N,), and their mean loss.

    Each margin is from a fit that left its prompt out; the loss is that of the decided pairs.
    """
    count, judged = len(decided), np.zeros(len(rows.pairs), dtype=np.bool_)
    judged[:count] = decided
    prompts = [pair.prompt for pair in rows.pairs]
    l2, margins = bradley_terry.choose_l2(
        rows.differences,
        bradley_terry.grouped_folds(prompts, folds=min(_FOLDS, len(set(prompts))), seed=seed),
        choices=_L2,
        weights=rows.weights,
        targets=rows.targets,
        labels=rows.labels,
        judged=judged,
    )
    weights, losses = rows.weights[judged], bradley_terry.loss(margins[judged], labels=rows.labels[judged])
    return l2, margins[:count], float((weights * losses).sum() / weights.sum())


def _right(margins: Array) -> float:
    """The share of pairs ranked right; ties half."""
    return float(((margins > 0) + 0.5 * (margins == 0)).mean())


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
