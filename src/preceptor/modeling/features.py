"""The pooled vectors of a prompt and a response go in, the features that a frozen reward model weighs come out.

What an answer is in itself (its form, content and style) counts only as far as it is on topic: those features are
multiplied by a gate, 0 where the cosine of prompt and response is that of any two texts and 1 where it is usual for an
answer. So a well-formed answer to another question earns little, however the head weighs form.

Length is not among them unless asked for: a reward model that counts words teaches a policy to write more of them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np

from preceptor.modeling.embeddings import FloatArray, TextVectors

FEATURES_VERSION = "gated-relation-form-match-content-style-2"  # stored with each head; another version is refused
RELATION = 5  # cosine with the prompt: whole, best, mean and worst sentence; and the gate
FORM = 4  # likeness of the sentences; distinct two-word and three-word runs; whether the last sentence is ended
Gate = tuple[float, float]  # cosine at which an answer's own features count nothing, and at which they count in full
OPEN: Gate = (-2.0, -1.0)  # always 1: every cosine lies above
_ENDED = re.compile(r"[.!?][\"'”’)]*\s*$")


def feature_blocks(width: int, *, length: bool = False, relevance: int = 0) -> dict[str, slice]:
    """Where each group of features lies for an encoder of `width` dimensions (D).

    `relevance` counts the numbers that a cross-encoder adds at the end.
    """
    sizes = {"relation": RELATION, "form": FORM, "match": width, "content": width, "style": width}
    if length:
        sizes["length"] = 1
    if relevance:
        sizes["relevance"] = relevance
    blocks, start = {}, 0
    for name, size in sizes.items():
        blocks[name] = slice(start, start + size)
        start += size
    return blocks


def pair_features(
    prompts: Sequence[TextVectors],
    responses: Sequence[TextVectors],
    texts: Sequence[str],
    *,
    gate: Gate = OPEN,
    length: bool = False,
) -> FloatArray:
    """Features of each (prompt, response), (N, F); `texts` are the responses as written.

    "match" is u * v of the unit vectors of prompt and response, "content" is v, "style" a middle layer's mean.
    """
    rows = [_row(p, r, text, gate, length) for p, r, text in zip(prompts, responses, texts, strict=True)]
    return np.stack(rows).astype(np.float32)


def cosine(prompt: TextVectors, response: TextVectors) -> float:
    """Cosine of the whole texts: what the encoder says before any training."""
    return float(_unit(prompt.last) @ _unit(response.last))


def _row(prompt: TextVectors, response: TextVectors, text: str, gate: Gate, length: bool) -> FloatArray:
    u, v = _unit(prompt.last), _unit(response.last)
    sentences = _unit(response.sentences)
    near = sentences @ u if len(sentences) else np.zeros(1, dtype=np.float32)
    likeness = float(u @ v)
    on_topic = min(1.0, max(0.0, (likeness - gate[0]) / (gate[1] - gate[0])))
    form = [_sameness(sentences), _distinct(text, 2), _distinct(text, 3), float(_ENDED.search(text) is not None)]
    parts = [
        np.array([likeness, near.max(), near.mean(), near.min(), on_topic]),
        on_topic * np.array(form),
        u * v,
        on_topic * v,
        on_topic * response.middle,
    ]
    if length:
        parts.append(np.array([on_topic * math.log1p(len(text))]))
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
