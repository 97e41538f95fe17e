"""The frozen head on vectors made for it: whose pairs each head of the ensemble saw, weights and margins."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from preceptor.modeling.embeddings import TextVectors
from preceptor.reward import bradley_terry, frozen
from preceptor.reward.config import RewardConfig
from preceptor.reward.dataset import Pair
from preceptor.reward.frozen import FrozenFit, fit_head
from preceptor.reward.reader import Reader

WIDTH, RATERS = 8, 6
CONFIG = RewardConfig(dataset="-", mismatch_weight=0)


@pytest.fixture(autouse=True)
def _one_shrinkage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frozen, "_L2", (0.1,))  # so that a change of some pairs reaches no head through the choice


def pairs_and_reader() -> tuple[list[Pair], Reader]:
    """Eight prompts, each judged by all of six clinicians."""
    draw, vectors = np.random.default_rng(0), {}
    names = [f"{kind} {n}" for n in range(8) for kind in ("prompt", "good", "bad")]
    for name in names:
        vector = (draw.normal(size=WIDTH) + 1.0 * name.startswith("good")).astype(np.float32)
        vectors[name] = TextVectors(vector, vector, vector[None])
    pairs = [Pair(f"prompt {n}", f"good {n}", f"bad {n}", rater=f"r{r}") for n in range(8) for r in range(RATERS)]
    return pairs, Reader(vectors, WIDTH)


def turned(pairs: list[Pair], rater: str) -> list[Pair]:
    """The same pairs, of which one clinician prefers the other answer each time."""
    return [replace(p, chosen=p.rejected, rejected=p.chosen) if p.rater == rater else p for p in pairs]


def fitted(pairs: list[Pair], reader: Reader, **settings: float) -> FrozenFit:
    return fit_head(pairs, reader, config=CONFIG.model_copy(update=settings), ensemble=12)


def test_a_head_that_did_not_draw_a_clinician_does_not_know_what_they_prefer() -> None:
    pairs, reader = pairs_and_reader()
    counts = bradley_terry.bootstrap_counts([pair.rater for pair in pairs], draws=12, seed=CONFIG.seed)
    drew = counts[:, [pair.rater == "r0" for pair in pairs]].all(axis=1)  # (12,)
    assert 0 < drew.sum() < 12
    before, after = fitted(pairs, reader), fitted(turned(pairs, "r0"), reader)
    assert before.bootstrapped_by == "rater"
    moved = np.abs(before.head.weights - after.head.weights).max(axis=1) > 1e-6
    assert moved[0]  # the head of all pairs
    assert moved[1:].tolist() == drew.tolist()


def test_a_clinician_of_hardly_any_weight_moves_no_head() -> None:
    pairs, reader = pairs_and_reader()
    light = [replace(pair, weight=1e-9) if pair.rater == "r0" else pair for pair in pairs]
    one, other = fitted(light, reader), fitted(turned(light, "r0"), reader)
    np.testing.assert_allclose(one.head.weights, other.head.weights, atol=1e-4)
    assert np.abs(fitted(turned(pairs, "r0"), reader).head.weights - one.head.weights).max() > 1e-2


def test_a_margin_sets_scores_farther_apart_as_far_as_it_is_scaled() -> None:
    pairs, reader = pairs_and_reader()
    asked = [replace(pair, margin=1.0) for pair in pairs]
    sizes = [np.linalg.norm(fitted(rows, reader).head.weights[0]) for rows in (pairs, asked)]
    assert sizes[1] > 1.1 * sizes[0]
    unscaled = fitted(asked, reader, margin_scale=0.0)
    np.testing.assert_allclose(unscaled.head.weights, fitted(pairs, reader).head.weights, atol=1e-6)
