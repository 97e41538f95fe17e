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


def test_the_scores_of_every_head_have_mean_0_and_a_feature_that_never_varies_is_left_out() -> None:
    pairs, reader = pairs_and_reader()
    fit = fitted(pairs, reader)
    features = np.concatenate([reader.chosen(pairs, gate=fit.head.gate), reader.rejected(pairs, gate=fit.head.gate)])
    raw = fit.head.raw(features)
    np.testing.assert_allclose(raw.mean(axis=1), 0.0, atol=1e-6)
    assert fit.std == pytest.approx(raw[0].std())
    flat = features.astype(np.float64).std(axis=0) <= 1e-6
    assert 0 < flat.sum() < flat.size
    assert (fit.head.scale[flat] == 0).all()
    assert (fit.head.scale[~flat] > 0).all()


def test_prompts_are_drawn_where_raters_are_few_or_some_are_unknown() -> None:
    pairs, reader = pairs_and_reader()
    assert (
        fitted([pair for pair in pairs if pair.rater in {"r0", "r1", "r2", "r3"}], reader).bootstrapped_by == "prompt"
    )
    assert fitted([*pairs[1:], replace(pairs[0], rater=None)], reader).bootstrapped_by == "prompt"
    assert fitted([pair for pair in pairs if pair.rater != "r5"], reader).bootstrapped_by == "rater"


def test_a_row_that_is_drawn_twice_counts_as_two() -> None:
    draw = np.random.default_rng(4)
    pairs, _ = pairs_and_reader()
    rows = frozen._Rows(pairs[:5], draw.normal(size=(5, 3)), draw.random(5), np.zeros(5), np.ones(5))
    counts = np.array([3.0, 0.0, 1.0, 2.0, 1.0])
    times = counts.astype(int)
    repeated = bradley_terry.fit(np.repeat(rows.differences, times, axis=0), l2=0.1, weights=rows.weights.repeat(times))
    np.testing.assert_allclose(rows.fit(0.1, counts), repeated, atol=1e-4)


def test_mismatched_answers_are_learned_from_by_their_weight_and_only_where_they_cost_no_accuracy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pairs, reader = pairs_and_reader()
    plain = fitted(pairs, reader)
    light, full = (fitted(pairs, reader, mismatch_weight=weight) for weight in (1e-9, 1.0))
    assert plain.mismatched == 0
    assert light.mismatched == len(pairs)
    assert full.mismatched == 0  # these answers are no answers to their prompts, so learning that costs accuracy
    monkeypatch.setattr(frozen, "_TOLERATED", 1.0)
    full = fitted(pairs, reader, mismatch_weight=1.0)
    assert full.mismatched == len(pairs)
    assert full.accuracy < plain.accuracy
    np.testing.assert_allclose(light.head.weights[0], plain.head.weights[0], atol=1e-4)
    assert np.abs(full.head.weights[0] - plain.head.weights[0]).max() > 1e-2
    assert len(full.margins) == len(pairs)
    assert full.loss == pytest.approx(bradley_terry.loss(full.margins).mean())  # mismatched answers judge nothing


def test_the_loss_weighs_pairs_and_a_margin_of_0_is_half_right() -> None:
    pairs, reader = pairs_and_reader()
    weights = np.linspace(0.1, 2.0, len(pairs))
    fit = fitted([replace(pair, weight=float(weight)) for pair, weight in zip(pairs, weights, strict=True)], reader)
    assert fit.loss == pytest.approx(float(weights @ bradley_terry.loss(fit.margins) / weights.sum()))
    assert frozen._right(np.array([2.0, 0.0, -1.0, 0.5])) == 0.625
