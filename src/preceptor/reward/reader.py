"""The vectors of a dataset's texts go in, the features that a frozen head reads of its pairs come out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from preceptor.modeling.embeddings import FloatArray, TextVectors
from preceptor.modeling.features import OPEN, Gate, cosine, pair_features
from preceptor.reward.dataset import Pair

_CLEARANCE = 0.05  # of cosine; where own answers are no nearer than any others, nothing can be told apart


@dataclass(frozen=True)
class Reader:
    """Vectors by text, whether the head may see length, and a cross-encoder's logits by prompt and answer, if any."""

    vectors: Mapping[str, TextVectors]
    width: int
    length: bool = False
    relevance: Mapping[tuple[str, str], FloatArray] | None = None

    def features(self, prompts: Sequence[str], answers: Sequence[str], *, gate: Gate) -> FloatArray:
        """Features of each (prompt, answer), (N, F)."""
        features = pair_features(
            [self.vectors[prompt] for prompt in prompts],
            [self.vectors[answer] for answer in answers],
            answers,
            gate=gate,
            length=self.length,
        )
        if self.relevance is None:
            return features
        logits = [self.relevance[key] for key in zip(prompts, answers, strict=True)]
        return np.concatenate([features, np.stack(logits)], axis=1)

    def chosen(self, pairs: Sequence[Pair], *, gate: Gate) -> FloatArray:
        """Features of the chosen answers, (N, F)."""
        return self.features([pair.prompt for pair in pairs], [pair.chosen for pair in pairs], gate=gate)

    def rejected(self, pairs: Sequence[Pair], *, gate: Gate) -> FloatArray:
        """Features of the rejected answers, (N, F)."""
        return self.features([pair.prompt for pair in pairs], [pair.rejected for pair in pairs], gate=gate)

    def cosine(self, prompt: str, answer: str) -> float:
        """What the encoder says untrained."""
        return cosine(self.vectors[prompt], self.vectors[answer])


def partners(pairs: Sequence[Pair], *, seed: int) -> list[tuple[Pair, Pair]]:
    """Each pair with a pair of another prompt, drawn from the seed; empty where all pairs share one prompt.

    Ties are left out: none of their answers was preferred to any other.
    """
    pairs = [pair for pair in pairs if not pair.is_tie]
    draw = np.random.default_rng(seed)
    order = draw.permutation(len(pairs))
    found = []
    for pair in pairs:
        start = int(draw.integers(len(pairs)))
        turn = (pairs[order[(start + step) % len(pairs)]] for step in range(len(pairs)))
        other = next((p for p in turn if p.prompt != pair.prompt), None)
        if other is not None:
            found.append((pair, other))
    return found


def mismatched_pairs(matches: Sequence[tuple[Pair, Pair]]) -> list[Pair]:
    """The chosen answer of each pair over the chosen answer of its partner's prompt.

    The better answer to one question is a well-formed answer to another one, where it helps nobody.
    """
    return [
        Pair(pair.prompt, pair.chosen, other.chosen, weight=pair.weight, rater=pair.rater)
        for pair, other in matches
        if pair.chosen != other.chosen
    ]


def topic_gate(reader: Reader, matches: Sequence[tuple[Pair, Pair]]) -> Gate:
    """Cosines at which an answer is as far from its prompt as any text is, and as near as most answers are.

    They are the median over answers to other prompts and the lower quartile over answers to their own prompt; where
    these nearly meet, the gate stays open.
    """
    if not matches:
        return OPEN
    own = [reader.cosine(pair.prompt, answer) for pair, _ in matches for answer in (pair.chosen, pair.rejected)]
    far = [reader.cosine(pair.prompt, answer) for pair, other in matches for answer in (other.chosen, other.rejected)]
    low, high = float(np.median(far)), float(np.quantile(own, 0.25))
    return (low, high) if high - low > _CLEARANCE else OPEN
