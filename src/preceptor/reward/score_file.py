"""A JSONL file of prompts and responses goes in, the same rows with the scores of a reward model come out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from preceptor.errors import InputError
from preceptor.files.jsonl import read_jsonl, write_jsonl

_CHUNK = 256  # rows scored together; a later row does not change an earlier row's batch
_NAMED = 5  # lines named in one error


def score_file(
    input_file: Path,
    output_file: Path,
    reward_model: str | Path,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Add `score` and `score_sd` to each row and replace `output_file` in one step; returns the number of rows.

    `score_sd` is the deviation of the ensemble's scores of that row, in units of `score`; null where there is none.

    Raises InputError, naming the lines, when rows lack a text in `prompt` or `response` (an empty response is scored);
    ModelError when the folder is no reward model. Nothing is written then.
    """
    rows = list(read_jsonl(input_file))
    wrong = [f"line {number} ({_problem(row)})" for number, row in rows if _problem(row)]
    if wrong:
        more = f" and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
        raise InputError(
            f"{input_file}: {', '.join(wrong[:_NAMED])}{more} cannot be scored; each row needs the texts "
            "'prompt' and 'response'. Correct them and run again."
        )
    from preceptor.modeling.reward_model import load_scorer

    scorer = load_scorer(reward_model)
    scored: list[dict[str, Any]] = []
    for start in range(0, len(rows), _CHUNK):
        chunk = [row for _, row in rows[start : start + _CHUNK]]
        scores, deviations = scorer.score_with_deviation(
            [row["prompt"] for row in chunk], [row["response"] for row in chunk]
        )
        spread = [None] * len(chunk) if deviations is None else [round(float(d), 6) for d in deviations]
        scored.extend(
            {**row, "score": round(float(s), 6), "score_sd": d} for row, s, d in zip(chunk, scores, spread, strict=True)
        )
        if progress is not None:
            progress(len(scored), len(rows))
    return write_jsonl(output_file, scored)


def _problem(row: dict[str, Any]) -> str:
    if not isinstance(row.get("prompt"), str) or not row["prompt"].strip():
        return "no prompt"
    return "" if isinstance(row.get("response"), str) else "no response"
