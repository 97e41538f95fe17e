"""What both modes hand to the report, and the arrays that they read from pairs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preceptor.modeling.frozen_head import Array
from preceptor.reward.dataset import Pair

Progress = Callable[[int, int, dict[str, Any]], None]


@dataclass(frozen=True)
class Measured:
    """Normalized scores of the held-out pairs (N,), margins of the baselines by name, facts for the report."""

    chosen: Array
    rejected: Array
    temperature: float
    baselines: Mapping[str, Array]
    facts: dict[str, Any] = field(default_factory=dict)


def pair_weights(pairs: Sequence[Pair]) -> Array:
    return np.array([pair.weight for pair in pairs], dtype=np.float64)


def pair_margins(pairs: Sequence[Pair], *, scale: float) -> Array:
    return scale * np.array([pair.margin for pair in pairs], dtype=np.float64)


def decided_pairs(pairs: Sequence[Pair]) -> NDArray[np.bool_]:
    """Which pairs are no ties, (N,): only they say what a model gets right."""
    return np.array([not pair.is_tie for pair in pairs], dtype=np.bool_)


def pair_labels(pairs: Sequence[Pair]) -> Array:
    return np.array([pair.label for pair in pairs], dtype=np.float64)
