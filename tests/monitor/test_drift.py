"""Drift on plain numbers: quiet when nothing moves, heard when it does, silent about too little."""

from __future__ import annotations

import numpy as np
import pytest

from preceptor.errors import InputError
from preceptor.monitor.drift import mix_drift, rating_drift


def test_the_same_mix_is_steady_and_a_new_agent_taking_over_is_drift() -> None:
    before = {"cardiology": 200, "oncology": 200}
    assert mix_drift(before, {"cardiology": 101, "oncology": 99}).status == "steady"
    moved = mix_drift(before, {"cardiology": 20, "oncology": 30, "dermatology": 150})
    assert moved.status == "drifted"
    assert moved.psi > 1


def test_psi_equals_the_textbook_sum() -> None:
    drift = mix_drift({"a": 5_000_000, "b": 5_000_000}, {"a": 3_000_000, "b": 7_000_000})
    expected = (0.3 - 0.5) * np.log(0.3 / 0.5) + (0.7 - 0.5) * np.log(0.7 / 0.5)
    assert drift.psi == pytest.approx(expected, abs=1e-6)


def test_small_samples_of_one_mix_seldom_drift() -> None:
    rng = np.random.default_rng(1)
    names = [f"agent{n}" for n in range(10)]

    def draw(size: int) -> dict[str, int]:
        return dict(zip(names, rng.multinomial(size, np.full(10, 0.1)).tolist(), strict=True))

    assert sum(mix_drift(draw(40), draw(40)).status == "drifted" for _ in range(300)) <= 300 * 0.01 + 3 * 1.73
    assert sum(mix_drift(draw(40), draw(40)).psi > 0.2 for _ in range(300)) > 100  # PSI alone would cry wolf


def test_too_few_judgements_are_insufficient_data() -> None:
    assert mix_drift({"a": 10}, {"b": 500}).status == "insufficient data"
    assert rating_drift([0.7] * 29, [0.0] * 500).status == "insufficient data"
    assert rating_drift([0.7] * 40, []).status == "insufficient data"


def draw(mean: float, size: int, seed: int) -> list[float]:
    return np.clip(np.random.default_rng(seed).normal(mean, 0.2, size), 0, 1).tolist()


def test_unchanged_ratings_stay_steady_for_a_long_time() -> None:
    alarms = sum(rating_drift(draw(0.7, 200, s), draw(0.7, 1000, s + 500)).status == "drifted" for s in range(60))
    assert alarms <= 3


def test_a_fall_of_a_fifth_is_heard_within_sixty_clinician_days() -> None:
    heard = sum(rating_drift(draw(0.7, 200, s), draw(0.5, 60, s + 500)).status == "drifted" for s in range(60))
    assert heard >= 54


def test_a_fall_is_heard_after_a_long_good_spell_too() -> None:
    recent = draw(0.75, 2000, 1) + draw(0.45, 60, 2)
    assert rating_drift(draw(0.7, 200, 3), recent).status == "drifted"


def test_a_rise_is_no_alarm() -> None:
    assert rating_drift(draw(0.5, 200, 1), draw(0.9, 2000, 2)).status == "steady"


def test_stars_that_were_not_rescaled_are_refused() -> None:
    with pytest.raises(InputError, match="between 0 and 1"):
        rating_drift([4.0] * 40, [3.0])
