"""Texts go in, their pooled vectors come out, computed once: a file keeps those of the latest dataset.

The key is the text's SHA-256 and the encoder's digest. Vectors of texts that left the dataset leave the file with the
next training. The file can be deleted at any time.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preceptor.files.atomic import write_atomic
from preceptor.modeling.cross_encoder import CrossEncoder
from preceptor.modeling.embeddings import Encoder, TextVectors, embed

logger = logging.getLogger(__name__)
_EMBEDDING_VERSION = 1  # raise it when modeling/embeddings.py pools differently


def embed_cached(
    encoder: Encoder,
    texts: Sequence[str],
    *,
    cache_dir: Path | None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, TextVectors]:
    """Vectors by text; without a folder, nothing is kept."""
    distinct = list(dict.fromkeys(texts))
    file = (
        cache_dir / f"{encoder.digest}-{_EMBEDDING_VERSION}-{precision_name(encoder)}.safetensors"
        if cache_dir
        else None
    )
    known = _load(file) if file and file.is_file() else {}
    keys = {text: hashlib.sha256(text.encode()).hexdigest() for text in distinct}
    missing = [text for text in distinct if keys[text] not in known]
    for text, vectors in zip(missing, embed(encoder, missing, progress=progress), strict=True):
        known[keys[text]] = vectors
    if file and missing:
        _save(file, {key: known[key] for key in sorted(keys.values())})
    return {text: known[keys[text]] for text in distinct}


def precision_name(encoder: Encoder | CrossEncoder) -> str:
    """What else decides the bits of a vector: the precision and the kind of device."""
    precision = "bf16" if encoder.bfloat16 else "fp32"
    kind: str = encoder.model.device.type
    return precision if kind == "cpu" else f"{precision}-{kind}"


def _save(file: Path, vectors: dict[str, TextVectors]) -> None:
    from safetensors.numpy import save

    entries = list(vectors.values())
    tensors: dict[str, NDArray[Any]] = {
        "keys": np.array([list(bytes.fromhex(key)) for key in vectors], dtype=np.uint8),  # (N, 32)
        "means": np.stack([np.stack([entry.last, entry.middle]) for entry in entries]),  # (N, 2, D)
        "counts": np.array([len(entry.sentences) for entry in entries], dtype=np.int64),
        "sentences": np.concatenate([entry.sentences for entry in entries]),
    }
    write_atomic(file, save(tensors))


def _load(file: Path) -> dict[str, TextVectors]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tensors = load_file(file)
        ends = np.cumsum(tensors["counts"])
        return {
            bytes(key).hex(): TextVectors(means[0], means[1], tensors["sentences"][end - count : end])
            for key, means, count, end in zip(tensors["keys"], tensors["means"], tensors["counts"], ends, strict=True)
        }
    except (OSError, SafetensorError, KeyError, ValueError):
        logger.warning("The embedding cache %s cannot be read; it is built again.", file)
        return {}
