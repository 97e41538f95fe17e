from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from preceptor.errors import DataError, InputError
from preceptor.evaluate.orders import judge_in_both_orders, verdicts_judge
from preceptor.evaluate.win_rate import Verdict, win_rate

PROMPTS = [f"p{i}" for i in range(40)]
CANDIDATE, BASELINE = [f"new {i}" for i in range(40)], [f"old {i}" for i in range(40)]


def test_a_judge_that_only_likes_the_first_place_decides_nothing() -> None:
    def lazy(prompts: Sequence[str], first: Sequence[str], second: Sequence[str]) -> list[Verdict]:
        return ["first"] * len(prompts)

    outcomes, order = judge_in_both_orders(lazy, PROMPTS, CANDIDATE, BASELINE, seed=0)
    assert outcomes.tolist() == [0.5] * 40
    assert win_rate(outcomes, PROMPTS, seed=0).estimate == 0.5
    assert order["first_place_wins"]["estimate"] == 1.0
    assert order["turned"] == 40


def test_a_judge_that_tells_nothing_apart_is_not_one_that_turns() -> None:
    outcomes, order = judge_in_both_orders(lambda *_: ["tie"] * 40, PROMPTS, CANDIDATE, BASELINE, seed=0)
    assert outcomes.tolist() == [0.5] * 40
    assert (order["first_place_wins"]["estimate"], order["turned"]) == (0.5, 0)


def test_a_preference_for_the_first_place_does_not_hide_the_better_answer() -> None:
    rng = np.random.default_rng(0)
    better = {text for text in CANDIDATE if rng.random() < 0.5}  # the candidate is clearly better in about half

    def biased(prompts: Sequence[str], first: Sequence[str], second: Sequence[str]) -> list[Verdict]:
        return [
            "second" if b in better and a.startswith("old") else "first" for a, b in zip(first, second, strict=True)
        ]

    outcomes, order = judge_in_both_orders(biased, PROMPTS, CANDIDATE, BASELINE, seed=0)
    assert outcomes.tolist() == [1.0 if text in better else 0.5 for text in CANDIDATE]
    mirrored, _ = judge_in_both_orders(biased, PROMPTS, BASELINE, CANDIDATE, seed=0)
    assert mirrored.tolist() == (1 - outcomes).tolist()
    assert order["first_place_wins"]["low"] > 0.5
    one_order = np.mean([verdict == "first" for verdict in biased(PROMPTS, CANDIDATE, BASELINE)])
    assert one_order == 1.0  # what a single order would have claimed


def test_verdicts_of_people_are_looked_up_in_both_orders_and_put_to_a_vote(tmp_path: Path) -> None:
    def row(first: str, second: str, preferred: str) -> dict[str, str]:
        return {"prompt": "p", "first": first, "second": second, "preferred": preferred}

    rows = [row("new", "old", "first"), row("new", "old", "first"), row("new", "old", "second")]
    path = tmp_path / "verdicts.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in [*rows, row("old", "new", "second")]))
    outcomes, order = judge_in_both_orders(verdicts_judge(path), ["p"], ["new"], ["old"], seed=0)
    assert outcomes.tolist() == [1.0]
    assert order["turned"] == 0
    path.write_text("".join(json.dumps({**one, "preferred": "second"}) + "\n" for one in rows[1:]) + path.read_text())
    outcomes, order = judge_in_both_orders(verdicts_judge(path), ["p"], ["new"], ["old"], seed=0)
    assert (outcomes.tolist(), order["turned"]) == ([0.5], 1)  # three of five now say "second", in both orders
    path.write_text(json.dumps(rows[0]) + "\n")
    with pytest.raises(DataError, match="judged twice"):
        judge_in_both_orders(verdicts_judge(path), ["p"], ["new"], ["old"], seed=0)
    path.write_text(json.dumps({**rows[0], "preferred": "new"}) + "\n")
    with pytest.raises(InputError, match="line 1: `preferred`"):
        verdicts_judge(path)


def test_a_judge_that_says_something_else_is_refused() -> None:
    with pytest.raises(DataError, match="other than"):
        judge_in_both_orders(lambda *asked: ["both"] * len(asked[0]), PROMPTS, CANDIDATE, BASELINE, seed=0)  # type: ignore[arg-type, return-value]
    with pytest.raises(DataError, match="0 and 0 verdicts"):
        judge_in_both_orders(lambda *_: [], PROMPTS, CANDIDATE, BASELINE, seed=0)
