"""Verdicts between two answers, shown in both orders, in; one outcome a pair, and how much the order decided, out.

A reward model scores each answer by itself, so it has no order to be misled by. A person, or a model that reads both
answers at once, has: many prefer what they read first. Asked in both orders, that preference cancels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from preceptor.errors import DataError, InputError
from preceptor.evaluate.win_rate import Verdict, outcome_from_orders
from preceptor.files.jsonl import read_jsonl, text_field
from preceptor.stats.intervals import cluster_share

PairJudge = Callable[[Sequence[str], Sequence[str], Sequence[str]], Sequence[Verdict]]
"""(prompts, first answers, second answers) to "first", "second" or "tie" for each."""

_SHARE = {"first": 1.0, "second": 0.0, "tie": 0.5}


def judge_in_both_orders(
    judge: PairJudge, prompts: Sequence[str], candidate: Sequence[str], baseline: Sequence[str], *, seed: int
) -> tuple[NDArray[np.float64], dict[str, Any]]:
    """Outcomes (N,) of a judge asked twice, once with each answer first; and how often the first place won.

    A verdict that changes with the order is a tie.

    Raises:
        DataError: the judge gave another number of verdicts, or a word that is none.
    """
    ahead, behind = judge(prompts, candidate, baseline), judge(prompts, baseline, candidate)
    if len(ahead) != len(prompts) or len(behind) != len(prompts):
        raise DataError(f"The judge gave {len(ahead)} and {len(behind)} verdicts on {len(prompts)} pairs.")
    unknown = {*ahead, *behind} - set(_SHARE)
    if unknown:
        raise DataError(f"The judge gave {len(unknown)} verdicts other than 'first', 'second' and 'tie'.")
    outcomes = np.array([outcome_from_orders(one, two) for one, two in zip(ahead, behind, strict=True)])
    first_wins = np.array([(_SHARE[one] + _SHARE[two]) / 2 for one, two in zip(ahead, behind, strict=True)])
    turned = [{one, two} in ({"first"}, {"second"}) for one, two in zip(ahead, behind, strict=True)]
    found = cluster_share(first_wins, prompts, seed=seed)
    return outcomes, {
        "sensitive": True,
        "first_place_wins": {"estimate": found.estimate, "low": found.low, "high": found.high},
        "turned": int(sum(turned)),
    }


def verdicts_judge(path: Path) -> PairJudge:
    """A judge that looks pairs up in a JSONL of `prompt, first, second, preferred`; several verdicts are put to a vote.

    Raises:
        InputError: a row lacks a text, or `preferred` is not first, second or tie.
    """
    votes: dict[tuple[str, str, str], list[float]] = {}
    for number, row in read_jsonl(path):
        texts = (
            text_field(path, number, row, "prompt"),
            str(row.get("first", "")),
            str(row.get("second", "")),
        )
        preferred = row.get("preferred")
        if not isinstance(preferred, str) or preferred not in _SHARE:
            raise InputError(f"{path}, line {number}: `preferred` must be first, second or tie.")
        votes.setdefault(texts, []).append(_SHARE[preferred])

    def judge(prompts: Sequence[str], first: Sequence[str], second: Sequence[str]) -> list[Verdict]:
        asked = list(zip(prompts, first, second, strict=True))
        missing = sum(pair not in votes for pair in asked)
        if missing:
            raise DataError(
                f"{missing} of {len(asked)} pairs have no verdict in this order in {path}. Each pair of the report's "
                "answers.jsonl is judged twice: once with the candidate as `first`, once with the baseline."
            )
        means = [float(np.mean(votes[pair])) for pair in asked]
        return ["first" if mean > 0.5 else "second" if mean < 0.5 else "tie" for mean in means]

    return judge
