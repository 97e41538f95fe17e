"""Texts go in, their pooled vectors come out, computed once: a file keeps those of the latest dataset."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from preceptor.modeling.cross_encoder import CrossEncoder
from preceptor.modeling.embeddings import Encoder, FloatArray, TextVectors, embed
from preceptor.reward.row_cache import cached_blocks

_EMBEDDING_VERSION = 2  # raise it when modeling/embeddings.py pools differently


def embed_cached(
    encoder: Encoder,
    texts: Sequence[str],
    *,
    cache_dir: Path | None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, TextVectors]:
    """Vectors by text; without a folder, nothing is kept."""
    distinct = list(dict.fromkeys(texts))
    name = f"{encoder.digest}-{_EMBEDDING_VERSION}-{precision_name(encoder)}.safetensors"

    def computed(indices: list[int]) -> list[FloatArray]:
        found = embed(encoder, [distinct[index] for index in indices], progress=progress)
        return [np.vstack([vectors.last, vectors.middle, vectors.sentences]) for vectors in found]  # (2 + S, D)

    blocks = cached_blocks(cache_dir / name if cache_dir else None, distinct, computed)
    assert blocks is not None
    return {text: TextVectors(block[0], block[1], block[2:]) for text, block in zip(distinct, blocks, strict=True)}


def precision_name(encoder: Encoder | CrossEncoder) -> str:
    """What else decides the bits of a vector: the precision and the kind of device."""
    precision = "bf16" if encoder.bfloat16 else "fp32"
    kind: str = encoder.model.device.type
    return precision if kind == "cpu" else f"{precision}-{kind}"
