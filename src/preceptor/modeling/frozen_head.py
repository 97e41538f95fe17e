"""Features go in, the scores of a linear Bradley-Terry head and of its bootstrapped ensemble come out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from preceptor.errors import ModelError
from preceptor.modeling.features import OPEN, Gate

HEAD_FILE = "head.safetensors"
_TENSORS = ("center", "scale", "weights", "offsets", "gate")
Array = NDArray[np.float64]


@dataclass(frozen=True)
class FrozenHead:
    """Row 0 of `weights` was fitted on all pairs, rows 1..K on bootstrap samples of raters (or prompts)."""

    center: Array  # (F,)
    scale: Array  # (F,) zero for a feature that is not used
    weights: Array  # (1 + K, F)
    offsets: Array  # (1 + K,) mean raw score on the reference answers
    gate: Gate = OPEN  # cosines between which an answer's own features begin to count

    def raw(self, features: NDArray[np.float32]) -> Array:
        """Raw scores (1 + K, N) of features (N, F), each head centered on the reference answers."""
        scores: Array = self.weights @ ((features - self.center) * self.scale).T - self.offsets[:, None]
        return scores


def save_head(head: FrozenHead, folder: Path) -> None:
    """Write `head.safetensors`."""
    from safetensors.numpy import save_file

    tensors = {name: np.asarray(getattr(head, name), dtype=np.float64) for name in _TENSORS}
    save_file({name: np.ascontiguousarray(value) for name, value in tensors.items()}, folder / HEAD_FILE)


def load_head(folder: Path) -> FrozenHead:
    """Read `head.safetensors`; raises ModelError when it is torn or of another shape."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tensors = load_file(folder / HEAD_FILE)
        low, high = (float(value) for value in tensors["gate"])
        head = FrozenHead(tensors["center"], tensors["scale"], tensors["weights"], tensors["offsets"], gate=(low, high))
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise ModelError(f"{folder / HEAD_FILE} cannot be read ({error}): train the reward model again.") from error
    count = head.center.shape[0]
    if head.scale.shape != (count,) or head.weights.shape[1:] != (count,):
        raise ModelError(f"{folder / HEAD_FILE} does not fit together: train the reward model again.")
    return head
