from __future__ import annotations

import numpy as np

from preceptor.evaluate.slices import known_groups, win_rate_slices
from preceptor.stats.intervals import wilson


def test_parts_with_too_few_prompts_and_groupings_with_one_part_are_left_out() -> None:
    prompts = [f"p{i}" for i in range(14)]
    pairs = [
        {
            "prompt": prompt,
            "metadata": {"agent_name": "one", "specialty": "heart" if i < 6 else "skin" if i < 12 else "eye"},
        }
        for i, prompt in enumerate(prompts)
    ]
    outcomes = np.array([1.0] * 6 + [0.0, 1.0] * 3 + [1.0, 1.0])
    found = win_rate_slices(outcomes, prompts, [1] * 7 + [-1] * 7, groups=known_groups(pairs), seed=0)
    assert set(found) == {"specialty", "length"}  # one agent is no grouping
    assert [(row["value"], row["n"], row["estimate"]) for row in found["specialty"]] == [
        ("heart", 6, 1.0),
        ("skin", 6, 0.5),
    ]
    assert found["specialty"][0]["low"] == wilson(6, 6).low < 0.7  # six wins of six are not certainty
    assert [row["value"] for row in found["length"]] == ["longer", "not longer"]


def test_several_answers_to_a_prompt_are_one_prompt() -> None:
    prompts = [f"p{i}" for i in range(10) for _ in range(2)]
    outcomes = np.array([1.0] * 10 + [0.0] * 10)
    found = win_rate_slices(outcomes, prompts, [1, -1] * 10, groups={}, seed=0)
    assert [row["n"] for row in found["length"]] == [10, 10]


def test_prompts_of_which_nothing_is_known_are_in_no_part() -> None:
    assert known_groups([{"prompt": "p", "metadata": None}]) == {"agent": {}, "specialty": {}}
