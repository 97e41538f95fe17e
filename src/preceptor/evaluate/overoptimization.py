"""The gold judge's scores of held-out answers along a training in; whether the published policy is past the peak, out.

A policy that learns to please its reward model rises by that model for as long as it trains; by a judge that training
never saw it rises, peaks and falls (Gao, Schulman and Hilton, arXiv 2210.10760). The published policy must not lie
below the peak by more than its standard error.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from preceptor.errors import InputError
from preceptor.files.jsonl import read_jsonl

_FEWEST_PROMPTS = 4


def read_training(policy: Path) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The answers to held-out prompts that a policy's training left (none, where it left none), and its card."""
    card, rows = policy / "preceptor.json", policy / "held_out.jsonl"
    try:
        found = json.loads(card.read_text(encoding="utf-8"))
        looks = [row for _, row in read_jsonl(rows)] if rows.is_file() else []
    except (OSError, ValueError, InputError):
        return [], {}
    return looks, found if isinstance(found, dict) else {}


def along_training(rows: Sequence[Mapping[str, Any]], gold: ArrayLike, *, published: int | None) -> dict[str, Any]:
    """One point a look: roll-outs before it, KL from where training began, scores of both judges.

    `rows` are those of a policy's `held_out.jsonl` (`update, prompt, score, kl`), `gold` the gold judge's scores of
    the same answers (N,), `published` the number of roll-outs before the published policy. The standard error is
    that of the mean at the peak, over prompts; `drop_in_se` says how many of them the published policy lies lower.
    """
    if not rows:
        return {"not_measured": "training left no answers to held-out prompts"}
    scores = np.asarray(gold, dtype=np.float64)
    looks = sorted({int(row["update"]) for row in rows})
    if published not in looks:
        return {"not_measured": "the published policy was not looked at on held-out prompts"}
    if len(looks) < 2:
        return {"not_measured": "there was one look only, so that nothing can be compared"}
    prompts = {str(row["prompt"]) for row in rows}
    if len(prompts) < _FEWEST_PROMPTS:
        return {"not_measured": f"{len(prompts)} held-out prompts are too few for a standard error"}
    points, errors = [], []
    for look in looks:
        places = [i for i, row in enumerate(rows) if row["update"] == look]
        by_prompt: dict[str, list[float]] = {}
        for i in places:
            by_prompt.setdefault(str(rows[i]["prompt"]), []).append(float(scores[i]))
        means = np.array([np.mean(values) for values in by_prompt.values()])
        points.append(
            {
                "update": look,
                "kl": float(np.mean([rows[i]["kl"] for i in places])),
                "score": float(np.mean([rows[i]["score"] for i in places])),
                "gold": float(means.mean()),
            }
        )
        errors.append(float(means.std(ddof=1) / np.sqrt(means.size)))
    heights = [point["gold"] for point in points]
    peak = int(np.argmax(heights))
    drop, error = heights[peak] - heights[looks.index(published)], errors[peak]
    return {
        "looks": [{**point, "gold_se": error} for point, error in zip(points, errors, strict=True)],
        "prompts": len(prompts),
        "published": published,
        "peak": looks[peak],
        "drop": drop,
        "standard_error": error,
        "drop_in_se": 0.0 if drop == 0 else drop / error if error > 0 else None,
    }
