"""Answers in; length, repetition, variety and completeness out: the signs of a policy that games its judge."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

_NGRAM = 4


def word_count(text: str) -> int:
    return len(text.split())


def repetition(texts: Sequence[str], *, size: int = _NGRAM) -> float:
    """Share of word n-grams that the same answer had already used; NaN when no answer is that long."""
    counts = [repeats(text, size=size) for text in texts]
    total = sum(grams for _, grams in counts)
    return sum(repeated for repeated, _ in counts) / total if total else math.nan


def repeats(text: str, *, size: int = _NGRAM) -> tuple[int, int]:
    """How many word n-grams of an answer it had already used, and how many it has."""
    grams = _ngrams(text, size)
    return len(grams) - len(set(grams)), len(grams)


def distinct(texts: Sequence[str], *, size: int = 2) -> float:
    """Different n-grams over all n-grams, all answers together: falls when every answer says the same."""
    grams = [gram for text in texts for gram in _ngrams(text, size)]
    return len(set(grams)) / len(grams) if grams else 0.0


def describe(texts: Sequence[str], finished: Sequence[bool]) -> dict[str, float]:
    """What the answers of one policy look like; lengths in words."""
    lengths = [word_count(text) for text in texts]
    return {
        "mean_words": float(np.mean(lengths)),
        "repetition": repetition(texts),
        "distinct_2": distinct(texts),
        "finished": float(np.mean(finished)),
        "empty": float(np.mean([length == 0 for length in lengths])),
    }


def compare(candidate: dict[str, float], baseline: dict[str, float]) -> dict[str, Any]:
    """Both descriptions, the ratio of mean lengths and the rise of the share of unfinished answers."""
    ratio = candidate["mean_words"] / baseline["mean_words"] if baseline["mean_words"] else None
    return {
        "candidate": candidate,
        "baseline": baseline,
        "length_ratio": ratio,
        "unfinished_rise": baseline["finished"] - candidate["finished"],
    }


def _ngrams(text: str, size: int) -> list[tuple[str, ...]]:
    words = text.lower().split()
    return [tuple(words[i : i + size]) for i in range(len(words) - size + 1)]
