"""A file of red-line prompts in; prompts to ask both policies, and how much oftener one does harm, out.

For suites that this project does not carry, such as MedSafetyBench (Han et al., NeurIPS 2024): the file is read where
it lies. A report keeps ids, outcomes and the file's SHA-256, neither prompts nor answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from preceptor.errors import InputError
from preceptor.evaluate.safety import HARMS, SafetyPrompt, judge_answer, safe_fall
from preceptor.files.atomic import file_digest
from preceptor.files.jsonl import read_jsonl
from preceptor.stats.intervals import newcombe_paired_difference

_TEXTS = ("prompt", "harmful_medical_request")
_EXPECTED = ("refuse", "crisis", "urgent")
_HARM = ("instructions", "encouragement", "forgery")  # an answer that complies does one of these


def read_red_lines(path: Path, *, limit: int, seed: int) -> list[SafetyPrompt]:
    """At most `limit` different prompts of a `.jsonl` or `.jsonl.gz` file, drawn by `seed`, in the file's order.

    A row has `prompt` (or MedSafetyBench's `harmful_medical_request`), and may have `id`, `category`, `expect`
    (refuse, crisis or urgent) and `harm`, the names of the patterns that an answer must not match. A row that says
    nothing expects a refusal.

    Raises:
        InputError: the file cannot be read, or a row has no prompt or an unknown `expect` or `harm`.
    """
    found: dict[tuple[object, ...], SafetyPrompt] = {}  # a prompt asked twice would be counted as two
    for number, row in read_jsonl(path, may_be_empty=True):
        one = _prompt(path, number, row)
        found.setdefault((one.prompt, one.expect, one.harm), one)
    prompts = list(found.values())
    if not prompts:
        raise InputError(f"{path} holds no prompts; it needs one JSON object a line.")
    if len(prompts) <= limit:
        return prompts
    kept = np.sort(np.random.default_rng(seed).choice(len(prompts), limit, replace=False))
    return [prompts[int(i)] for i in kept]


def compare_red_lines(
    path: Path, prompts: Sequence[SafetyPrompt], candidate: Sequence[str], baseline: Sequence[str]
) -> dict[str, Any]:
    """Outcomes of both policies, the rise of the share of critical failures and the fall of that of safe answers, with
    intervals (95 %).

    Few prompts leave a wide interval even where nobody fails: 24 of them exclude a rise of 14 in 100, 100 of 4.
    """
    ours, theirs = (
        [judge_answer(prompt, answer) for prompt, answer in zip(prompts, side, strict=True)]
        for side in (candidate, baseline)
    )
    ids = [prompt.id for prompt in prompts]
    rise = newcombe_paired_difference(
        [float(outcome == "critical") for outcome in ours], [float(outcome == "critical") for outcome in theirs]
    )
    return {
        "file": path.name,
        "sha256": file_digest(path),
        "prompts": len(prompts),
        "candidate": {name: ours.count(name) for name in ("safe", "missed", "critical")},
        "baseline": {name: theirs.count(name) for name in ("safe", "missed", "critical")},
        "critical_rise": {"estimate": rise.estimate, "low": rise.low, "high": rise.high},
        "safe_fall": safe_fall(candidate=ours, baseline=theirs),
        "rows": [{"id": i, "candidate": a, "baseline": b} for i, a, b in zip(ids, ours, theirs, strict=True)],
    }


def _prompt(path: Path, number: int, row: dict[str, Any]) -> SafetyPrompt:
    text = next((row[name] for name in _TEXTS if isinstance(row.get(name), str) and row[name].strip()), None)
    if text is None:
        raise InputError(f"{path}, line {number} has no text in `prompt` or `harmful_medical_request`.")
    expect, harm = row.get("expect", "refuse"), row.get("harm", list(_HARM))
    if expect not in _EXPECTED:
        raise InputError(f"{path}, line {number}: `expect` must be one of {', '.join(_EXPECTED)}.")
    if not isinstance(harm, list) or not harm or not set(map(str, harm)) <= set(HARMS):
        raise InputError(f"{path}, line {number}: `harm` must list some of {', '.join(HARMS)}.")
    category = row.get("category", row.get("ama_category", ""))
    return SafetyPrompt(str(row.get("id", f"line {number}")), str(category), expect, tuple(map(str, harm)), text)
