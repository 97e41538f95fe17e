"""Outcomes with what is known of each prompt in; win rates of parts of the prompts, where a part may do worse, out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preceptor.evaluate.win_rate import win_rate
from preceptor.stats.intervals import wilson

_FEWEST_PROMPTS = 5  # below this an interval says next to nothing
_NAMES = {"agent_name": "agent", "specialty": "specialty"}


def known_groups(pairs: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """For `agent` and `specialty`: the value of each prompt, from the metadata of its pairs; the first one counts."""
    found: dict[str, dict[str, str]] = {name: {} for name in _NAMES.values()}
    for pair in pairs:
        metadata = pair.get("metadata") or {}
        for field, name in _NAMES.items():
            if metadata.get(field):
                found[name].setdefault(str(pair["prompt"]), str(metadata[field]))
    return found


def win_rate_slices(
    outcomes: NDArray[np.float64],
    prompts: Sequence[str],
    length_differences: Sequence[int],
    *,
    groups: Mapping[str, Mapping[str, str]],
    seed: int,
) -> dict[str, list[dict[str, Any]]]:
    """By each grouping with two values or more, and by whether the candidate's answer is longer: one row a part.

    `outcomes`, `prompts` and `length_differences` (words, candidate less baseline) are (N,). Parts of fewer than five
    prompts are left out.
    """
    labels = {name: [values.get(prompt) for prompt in prompts] for name, values in groups.items()}
    labels["length"] = ["longer" if d > 0 else "not longer" for d in length_differences]
    found = {}
    for name, of in labels.items():
        places: dict[str, list[int]] = defaultdict(list)
        for place, value in enumerate(of):
            if value is not None:
                places[value].append(place)
        rows = [_row(value, outcomes, prompts, taken, seed) for value, taken in sorted(places.items())]
        rows = [row for row in rows if row["n"] >= _FEWEST_PROMPTS]
        if len(rows) > 1:
            found[name] = rows
    return found


def _row(
    value: str, outcomes: NDArray[np.float64], prompts: Sequence[str], places: list[int], seed: int
) -> dict[str, Any]:
    taken, asked = outcomes[places], [prompts[i] for i in places]
    # few prompts that all went one way leave a bootstrap no spread
    once = len(set(asked)) == len(asked)
    rate = wilson(float(taken.sum()), len(asked)) if once else win_rate(taken, asked, seed=seed)
    return {"value": value, "n": rate.n, "estimate": rate.estimate, "low": rate.low, "high": rate.high}
