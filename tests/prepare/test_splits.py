"""All pairs of one prompt land on one side, and stay there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preceptor.errors import DataError
from preceptor.prepare.splits import split_prompts


@given(st.sets(st.integers(0, 10_000), min_size=2, max_size=60), st.integers(0, 50))
def test_train_and_test_are_never_empty(numbers: set[int], seed: int) -> None:
    splits = split_prompts([f"prompt {n}" for n in numbers], seed=seed)
    assert {"train", "test"} <= set(splits.values())
    assert len(splits) == len(numbers)


def test_one_prompt_written_in_many_ways_has_one_split() -> None:
    splits = split_prompts(["Dose of X?", " dose  of x?", "DOSE OF X?", "another"])
    assert set(splits) == {"dose of x?", "another"}


def test_a_prompt_keeps_its_split_when_others_come() -> None:
    few = [f"prompt {n}" for n in range(100)]
    before = split_prompts(few)
    after = split_prompts([*few, *(f"later {n}" for n in range(300))])
    assert all(after[key] == split for key, split in before.items())


def test_shares_are_about_what_was_asked_for() -> None:
    splits = list(split_prompts([f"prompt {n}" for n in range(2000)]).values())
    assert splits.count("test") / 2000 == pytest.approx(0.2, abs=0.03)
    assert splits.count("validation") / 2000 == pytest.approx(0.1, abs=0.03)


def test_another_seed_makes_another_split() -> None:
    prompts = [f"prompt {n}" for n in range(200)]
    assert split_prompts(prompts, seed=1) != split_prompts(prompts, seed=2)


@pytest.mark.parametrize("prompts", [[], ["one"], ["one", "ONE "]])
def test_fewer_than_two_prompts_are_refused(prompts: list[str]) -> None:
    with pytest.raises(DataError, match="at least 2"):
        split_prompts(prompts)


def test_shares_must_leave_something_to_train_on() -> None:
    with pytest.raises(DataError, match="leave"):
        split_prompts(["a", "b"], test_share=0.6, validation_share=0.4)
