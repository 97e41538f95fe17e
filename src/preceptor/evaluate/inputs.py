"""A dataset folder and optional files in; held-out prompts, pairs and people's ratings out."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preceptor.errors import DataError, InputError

Judge = Callable[[Sequence[str], Sequence[str]], NDArray[np.floating[Any]]]
"""(prompts, answers) to scores, higher is better."""


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSONL file; raises InputError naming the line that is not one."""
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")  # a text may hold other line separators
    except FileNotFoundError:
        raise InputError(f"There is no file {path}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The file {path} cannot be read as text: {error.__class__.__name__}.") from None
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict):
            raise InputError(f"Line {number} of {path} is not a JSON object. Correct or remove it.")
        rows.append(row)
    return rows


def held_out_prompts(dataset: Path, prompts_file: Path | None, *, limit: int, seed: int) -> list[str]:
    """At most `limit` different prompts that no training pair used, in an order drawn by `seed`.

    Raises:
        DataError: fewer than two are left, so that nothing could be concluded.
    """
    own = read_rows(dataset / "prompts.jsonl")
    trained = {str(row["prompt"]) for row in own if row.get("split") != "test"}
    source = read_rows(prompts_file) if prompts_file else [row for row in own if row.get("split") == "test"]
    if any(not isinstance(row.get("prompt"), str) for row in source):
        raise InputError(f"A row of {prompts_file or dataset / 'prompts.jsonl'} has no `prompt`. Add it to each row.")
    prompts = sorted({str(row["prompt"]) for row in source} - trained)
    if len(prompts) < 2:
        raise DataError(
            f"Only {len(prompts)} held-out prompts are left in {prompts_file or dataset}; a comparison needs two or "
            "more. Collect judgements on more prompts, or give a file of prompts."
        )
    order = np.random.default_rng(seed).permutation(len(prompts))
    return [prompts[i] for i in order[:limit]]


def pairs_of(dataset: Path, split: str) -> list[dict[str, Any]]:
    """The preference pairs of one split; raises DataError where a row lacks a text."""
    rows = read_rows(dataset / "preferences.jsonl")
    for number, row in enumerate(rows, start=1):
        if any(not isinstance(row.get(name), str) for name in ("prompt", "chosen", "rejected")):
            raise DataError(f"Row {number} of {dataset / 'preferences.jsonl'} lacks prompt, chosen or rejected.")
    return [row for row in rows if (row.get("metadata") or {}).get("split") == split]


def ratings_judge(path: Path) -> Judge:
    """A judge that looks answers up in people's ratings; several ratings of one answer are averaged."""
    found: dict[tuple[str, str], list[float]] = {}
    for number, row in enumerate(read_rows(path), start=1):
        try:
            found.setdefault((row["prompt"], row["response"]), []).append(float(row["rating"]))
        except (KeyError, TypeError, ValueError):
            raise InputError(f"Row {number} of {path} needs `prompt`, `response` and a number as `rating`.") from None

    def judge(prompts: Sequence[str], answers: Sequence[str]) -> NDArray[np.float64]:
        missing = sum((pair not in found) for pair in zip(prompts, answers, strict=True))
        if missing:
            raise DataError(
                f"{missing} of {len(answers)} answers have no rating in {path}. Rate the answers.jsonl of a report "
                "made with the same settings."
            )
        return np.array([np.mean(found[pair]) for pair in zip(prompts, answers, strict=True)], dtype=np.float64)

    return judge
