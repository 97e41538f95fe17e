"""Keys and what computes their rows go in, the rows come out, computed once: a file keeps those asked for last.

What is kept depends on the file's name alone, so it must name the weights, the precision and the version of the
computation. A key is hashed: no text is stored. The file can be deleted at any time.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preceptor.files.atomic import write_atomic
from preceptor.modeling.embeddings import FloatArray

logger = logging.getLogger(__name__)


def cached_rows(
    file: Path | None, keys: Sequence[Hashable], compute: Callable[[list[int]], FloatArray | None]
) -> FloatArray | None:
    """One row of numbers a key, (N, D); see `cached_blocks`."""

    def computed(indices: list[int]) -> list[FloatArray] | None:
        rows = compute(indices)
        return None if rows is None else list(rows[:, None])

    blocks = cached_blocks(file, keys, computed)
    return None if blocks is None else np.concatenate(blocks)


def cached_blocks(
    file: Path | None, keys: Sequence[Hashable], compute: Callable[[list[int]], Sequence[FloatArray] | None]
) -> list[FloatArray] | None:
    """Some rows of numbers a key, N blocks of (rows, D); without a file, nothing is kept.

    Keys are distinct and consist of strings and numbers. `compute` is asked for the blocks of the keys with the given
    indices, in that order; None, where it cannot tell, is passed on. What was not asked for leaves the file when
    something new comes in.
    """
    names = [hashlib.sha256(json.dumps(key).encode()).digest() for key in keys]
    known = _load(file) if file and file.is_file() else {}
    missing = [index for index, name in enumerate(names) if name not in known]
    if missing:
        computed = compute(missing)
        if computed is None:
            return None
        known.update(zip((names[index] for index in missing), computed, strict=True))
        if file:
            _save(file, {name: known[name] for name in sorted(names)})
    return [known[name] for name in names]


def _save(file: Path, blocks: dict[bytes, FloatArray]) -> None:
    from safetensors.numpy import save

    tensors: dict[str, NDArray[Any]] = {
        "keys": np.array([list(name) for name in blocks], dtype=np.uint8),  # (N, 32)
        "counts": np.array([len(block) for block in blocks.values()], dtype=np.int64),
        "rows": np.concatenate(list(blocks.values())),
    }
    write_atomic(file, save(tensors))


def _load(file: Path) -> dict[bytes, FloatArray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tensors = load_file(file)
        ends = np.cumsum(tensors["counts"])
        return {
            bytes(key): tensors["rows"][end - count : end]
            for key, count, end in zip(tensors["keys"], tensors["counts"], ends, strict=True)
        }
    except (OSError, SafetensorError, KeyError, ValueError):
        logger.warning("The cache %s cannot be read; it is built again.", file)
        return {}
