"""What a frozen head reads of pairs: partners of another prompt, and the gate that shuts off topic."""

from __future__ import annotations

import numpy as np
import pytest

from preceptor.modeling.embeddings import TextVectors
from preceptor.modeling.features import OPEN, feature_blocks
from preceptor.reward.dataset import Pair
from preceptor.reward.reader import Reader, mismatched_pairs, partners, topic_gate

PAIRS = [Pair(f"prompt {i}", f"good {i}", f"bad {i}", weight=float(i), rater=f"r{i}") for i in range(4)]


def _vectors(angle: float) -> TextVectors:
    one = np.array([np.cos(angle), np.sin(angle)], dtype=np.float32)
    return TextVectors(one, np.array([2.0, 3.0], dtype=np.float32), one[None])


def _reader(*, apart: float) -> Reader:
    """Prompts `apart` degrees from each other; the answers to each lie 10 degrees from it."""
    vectors = {}
    for i, pair in enumerate(PAIRS):
        angle = np.radians(apart * i)
        vectors |= {pair.prompt: _vectors(angle)}
        vectors |= {answer: _vectors(angle + np.radians(10)) for answer in (pair.chosen, pair.rejected)}
    return Reader(vectors, 2)


def test_a_partner_always_has_another_prompt_and_the_seed_decides_which() -> None:
    doubled = [*PAIRS, Pair("prompt 0", "good 9", "bad 9")]
    matches = partners(doubled, seed=1)
    assert len(matches) == 5
    assert all(pair.prompt != other.prompt for pair, other in matches)
    assert matches == partners(doubled, seed=1)
    assert partners(PAIRS[:1], seed=1) == []


def test_a_tie_is_nobodys_partner_since_neither_answer_was_preferred() -> None:
    ties = [Pair(f"tied {i}", f"one {i}", f"other {i}", label=0.5) for i in range(6)]
    assert partners([*PAIRS[:2], *ties, *PAIRS[2:]], seed=1) == partners(PAIRS, seed=1)
    assert partners(ties, seed=1) == []


def test_a_mismatched_pair_sets_the_own_answer_over_that_of_the_partner() -> None:
    found = mismatched_pairs([(PAIRS[1], PAIRS[2])])
    assert found == [Pair("prompt 1", "good 1", "good 2", weight=1.0, rater="r1")]
    same = Pair("prompt 9", "good 1", "bad")
    assert mismatched_pairs([(PAIRS[1], same)]) == []  # one answer serves both: there is nothing to set apart


def test_the_gate_lies_between_any_text_and_an_ordinary_answer() -> None:
    low, high = topic_gate(_reader(apart=90), [(PAIRS[0], PAIRS[1]), (PAIRS[1], PAIRS[0])])
    assert high == pytest.approx(np.cos(np.radians(10)), abs=1e-6)
    # 100 degrees for one way round, 80 for the other
    assert low == pytest.approx((np.cos(np.radians(100)) + np.cos(np.radians(80))) / 2, abs=1e-6)


def test_the_gate_stays_open_where_nothing_is_off_topic() -> None:
    assert topic_gate(_reader(apart=0), [(PAIRS[0], PAIRS[1])]) == OPEN
    assert topic_gate(_reader(apart=90), []) == OPEN


def test_off_topic_an_answers_own_features_are_shut_and_relation_is_not() -> None:
    reader = _reader(apart=90)
    blocks = feature_blocks(2)
    on, off = reader.features(["prompt 0", "prompt 0"], ["good 0", "good 1"], gate=(0.1, 0.9))
    for name in ("form", "content", "style"):
        assert np.abs(on[blocks[name]]).max() > 0
        assert np.abs(off[blocks[name]]).max() == 0
    assert off[blocks["relation"]][0] == pytest.approx(np.cos(np.radians(100)), abs=1e-6)
