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

import numpy as np

from preceptor.files.atomic import write_atomic
from preceptor.modeling.embeddings import FloatArray

logger = logging.getLogger(__name__)


def cached_rows(
    file: Path | None, keys: Sequence[Hashable], compute: Callable[[list[int]], FloatArray | None]
) -> FloatArray | None:
    """One row of numbers a key, (N, D); without a file, nothing is kept.

    Keys are distinct and consist of strings and numbers. `compute` is asked for the rows of the keys with the given
    indices, in that order; None, where it cannot tell, is passed on.
    """
    if file is None:
        return compute(list(range(len(keys))))
    names = [hashlib.sha256(json.dumps(key).encode()).digest() for key in keys]
    known = _load(file) if file.is_file() else {}
    missing = [index for index, name in enumerate(names) if name not in known]
    if missing:
        computed = compute(missing)
        if computed is None:
            return None
        known.update(zip((names[index] for index in missing), computed, strict=True))
        _save(file, {name: known[name] for name in sorted(names)})
    return np.stack([known[name] for name in names])


def _save(file: Path, rows: dict[bytes, FloatArray]) -> None:
    from safetensors.numpy import save

    names = np.array([list(name) for name in rows], dtype=np.uint8)  # (N, 32)
    write_atomic(file, save({"keys": names, "rows": np.stack(list(rows.values())).astype(np.float32)}))


def _load(file: Path) -> dict[bytes, FloatArray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tensors = load_file(file)
        return {bytes(name): row for name, row in zip(tensors["keys"], tensors["rows"], strict=True)}
    except (OSError, SafetensorError, KeyError, ValueError):
        logger.warning("The cache %s cannot be read; it is built again.", file)
        return {}
