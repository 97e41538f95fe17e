"""Arms: golden hash values, a ramp that moves nobody, blocks that balance."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preceptor.errors import InputError
from preceptor.experiment.assign import CONTROL, TREATMENT, block_arm, bucket, hashed_arm, is_enrolled, unit_pseudonym

UNITS = [unit_pseudonym(number, b"k" * 32) for number in range(3000)]


@pytest.mark.parametrize(
    ("seed", "unit", "expected"),
    [
        ("seed", "user1", 0.413),
        ("exp", "user42", 0.9),
        ("s0", "u0", 0.7103),
        ("s3", "u21", 0.5866),
        ("demo-2025", "9f86d081884c7d659a2feaa0c55ad015", 0.059),
    ],
)
def test_the_bucket_equals_growthbook_hash_version_2(seed: str, unit: str, expected: float) -> None:
    assert bucket(seed, unit) == expected


def test_a_pseudonym_needs_the_key_and_never_shows_the_id() -> None:
    assert unit_pseudonym(7, b"a" * 32) == unit_pseudonym(7, b"a" * 32)
    assert unit_pseudonym(7, b"a" * 32) != unit_pseudonym(7, b"b" * 32)
    assert len(set(UNITS)) == len(UNITS)


@given(st.text(min_size=1), st.floats(0.01, 1), st.floats(0.01, 1))
def test_raising_coverage_never_moves_a_unit(unit: str, first: float, second: float) -> None:
    low, high = sorted((first, second))
    before = hashed_arm("exp", unit, coverage=low)
    if before is not None:
        assert hashed_arm("exp", unit, coverage=high) == before
    if is_enrolled("exp", unit, coverage=low):
        assert is_enrolled("exp", unit, coverage=high)


@pytest.mark.parametrize("coverage", [0.04, 0.2, 0.5, 1.0])
def test_every_stage_of_the_ramp_is_split_evenly(coverage: float) -> None:
    arms = Counter(hashed_arm("exp", unit, coverage=coverage) for unit in UNITS)
    inside = arms[CONTROL] + arms[TREATMENT]
    assert inside == pytest.approx(coverage * len(UNITS), rel=0.25)
    assert abs(arms[CONTROL] - arms[TREATMENT]) <= 3.5 * inside**0.5


def test_two_experiments_assign_independently() -> None:
    same = sum(hashed_arm("one", unit, coverage=1) == hashed_arm("two", unit, coverage=1) for unit in UNITS)
    assert same / len(UNITS) == pytest.approx(0.5, abs=0.035)


def test_enrolling_says_nothing_about_the_arm() -> None:
    enrolled = [unit for unit in UNITS if is_enrolled("exp", unit, coverage=0.5)]
    treated = sum(hashed_arm("exp", unit, coverage=1) == TREATMENT for unit in enrolled)
    assert treated / len(enrolled) == pytest.approx(0.5, abs=0.05)


@given(st.text(), st.text(), st.integers(1, 40))
def test_blocks_keep_the_arms_within_three(seed: str, stratum: str, units: int) -> None:
    arms = [block_arm(seed, stratum, position) for position in range(units)]
    assert abs(arms.count(CONTROL) - arms.count(TREATMENT)) <= 3


def test_blocks_are_not_predictable_from_the_position() -> None:
    first = Counter(block_arm(f"seed{number}", "", 0) for number in range(400))
    assert first[TREATMENT] == pytest.approx(200, abs=35)


@pytest.mark.parametrize("coverage", [0.0, -1.0, 1.01])
def test_an_impossible_coverage_is_refused(coverage: float) -> None:
    with pytest.raises(InputError, match="Coverage"):
        hashed_arm("exp", "unit", coverage=coverage)
