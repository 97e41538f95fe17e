"""The pooled vectors of a prompt and a response go in, the features that a frozen reward model weighs come out.

Length is not among them unless asked for: a reward model that counts words teaches a policy to write more of them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np

from preceptor.modeling.embeddings import FloatArray, TextVectors

FEATURES_VERSION = "relation-form-match-content-style-1"  # stored with each head; a head of another version is refused
RELATION = 5  # cosine with the prompt: whole, best, mean and worst sentence; likeness of the sentences to each other
FORM = 3  # share of distinct two-word and three-word runs, and whether the last sentence is ended
_ENDED = re.compile(r"[.!?][\"'”’)]*\s*$")


def feature_blocks(width: int, *, length: bool = False) -> dict[str, slice]:
    """Where each group of features lies for an encoder of `width` dimensions (D)."""
    sizes = {"relation": RELATION, "form": FORM, "match": width, "content": width, "style": width}
    if length:
        sizes["length"] = 1
    blocks, start = {}, 0
    for name, size in sizes.items():
        blocks[name] = slice(start, start + size)
        start += size
    return blocks


def pair_features(
    prompts: Sequence[TextVectors], responses: Sequence[TextVectors], texts: Sequence[str], *, length: bool = False
) -> FloatArray:
    """Features of each (prompt, response), (N, F); `texts` are the responses as written.

    "match" is u * v of the unit vectors of prompt and response, "content" is v, "style" a middle layer's mean.
    """
    rows = [_row(p, r, text, length) for p, r, text in zip(prompts, responses, texts, strict=True)]
    return np.stack(rows).astype(np.float32)


def cosine(prompt: TextVectors, response: TextVectors) -> float:
    """Cosine of the whole texts: what the encoder says before any training."""
    return float(_unit(prompt.last) @ _unit(response.last))


def _row(prompt: TextVectors, response: TextVectors, text: str, length: bool) -> FloatArray:
    u, v = _unit(prompt.last), _unit(response.last)
    sentences = _unit(response.sentences)
    near = sentences @ u if len(sentences) else np.zeros(1, dtype=np.float32)
    parts = [
        np.array([u @ v, near.max(), near.mean(), near.min(), _sameness(sentences)]),
        np.array([_distinct(text, 2), _distinct(text, 3), float(_ENDED.search(text) is not None)]),
        u * v,
        v,
        response.middle,
    ]
    if length:
        parts.append(np.array([math.log1p(len(text))]))
    return np.concatenate(parts)


def _unit(vectors: FloatArray) -> FloatArray:
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    unit: FloatArray = vectors / np.maximum(norms, 1e-9)
    return unit


def _sameness(sentences: FloatArray) -> float:
    """Mean likeness of each sentence to its nearest other one; 0 for a single sentence."""
    if len(sentences) < 2:
        return 0.0
    likeness = sentences @ sentences.T
    np.fill_diagonal(likeness, -1.0)
    return float(likeness.max(axis=1).mean())


def _distinct(text: str, run: int) -> float:
    words = re.findall(r"[^\W_]+", text.lower())
    runs = list(zip(*(words[i:] for i in range(run)), strict=False))
    return len(set(runs)) / len(runs) if runs else 1.0
