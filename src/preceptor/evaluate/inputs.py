"""A dataset folder and optional files in; held-out prompts, pairs and people's ratings out."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preceptor.errors import DataError, InputError
from preceptor.files.jsonl import read_jsonl, text_field
from preceptor.files.labels import TIE, label_of, sides_of

Judge = Callable[[Sequence[str], Sequence[str]], NDArray[np.floating[Any]]]
"""(prompts, answers) to scores, higher is better."""


def learned_prompts(reward_model: Path) -> set[str]:
    """The prompts that a reward model was trained on, as it says itself: it may be of another dataset or split."""
    told = reward_model / "prompts.jsonl"
    return {prompt for split, prompt in _prompts(told) if split != "test"} if told.is_file() else set()


def held_out_prompts(
    dataset: Path, prompts_file: Path | None, *, learned: Collection[str], limit: int, seed: int
) -> list[str]:
    """At most `limit` different prompts that no training pair used, in an order drawn by `seed`.

    `learned` are those that the reward model was trained on.

    Raises:
        DataError: fewer than two are left, so that nothing could be concluded.
    """
    own = _prompts(dataset / "prompts.jsonl")
    asked = _prompts(prompts_file) if prompts_file else [(split, prompt) for split, prompt in own if split == "test"]
    trained = {prompt for split, prompt in own if split != "test"}.union(learned)
    prompts = sorted({prompt for _, prompt in asked} - trained)
    if len(prompts) < 2:
        raise DataError(
            f"Only {len(prompts)} held-out prompts are left in {prompts_file or dataset}; a comparison needs two or "
            "more. Collect judgements on more prompts, or give a file of prompts."
        )
    order = np.random.default_rng(seed).permutation(len(prompts))
    return [prompts[i] for i in order[:limit]]


def pairs_of(dataset: Path, split: str) -> list[dict[str, Any]]:
    """The preference pairs of one split that have a better answer, `chosen`, whichever it was called in the file.

    Raises DataError where a row lacks a text or its metadata cannot be read.
    """
    path = dataset / "preferences.jsonl"
    found = []
    for number, row in read_jsonl(path, may_be_empty=True):
        if any(not isinstance(row.get(name), str) for name in ("prompt", "chosen", "rejected")):
            raise DataError(f"{path}, line {number} lacks prompt, chosen or rejected.")
        metadata = row.get("metadata") or {}
        if not isinstance(metadata, dict):
            raise DataError(f"{path}, line {number}: the field 'metadata' is not a JSON object.")
        try:
            label = label_of(path, number, metadata)
        except InputError as error:
            raise DataError(error.message) from None
        if metadata.get("split") == split and label != TIE and row["chosen"] != row["rejected"]:
            better, other = sides_of(label)
            found.append({**row, "chosen": row[better], "rejected": row[other]})
    return found


def _prompts(path: Path) -> list[tuple[Any, str]]:
    """The split, where one is named, and the prompt of each line."""
    return [(row.get("split"), text_field(path, number, row, "prompt")) for number, row in read_jsonl(path)]


def ratings_judge(path: Path) -> Judge:
    """A judge that looks answers up in people's ratings; several ratings of one answer are averaged."""
    found: dict[tuple[str, str], list[float]] = {}
    for number, row in read_jsonl(path):
        try:
            rating = float(row["rating"])
            if isinstance(row["rating"], bool) or not math.isfinite(rating):
                raise ValueError
            found.setdefault((row["prompt"], row["response"]), []).append(rating)
        except (KeyError, TypeError, ValueError, OverflowError):
            raise InputError(f"{path}, line {number} needs `prompt`, `response` and a number as `rating`.") from None

    def judge(prompts: Sequence[str], answers: Sequence[str]) -> NDArray[np.float64]:
        missing = sum((pair not in found) for pair in zip(prompts, answers, strict=True))
        if missing:
            raise DataError(
                f"{missing} of {len(answers)} answers have no rating in {path}. Rate the answers.jsonl of a report "
                "made with the same settings."
            )
        return np.array([np.mean(found[pair]) for pair in zip(prompts, answers, strict=True)], dtype=np.float64)

    return judge
