"""Planted over-optimization is caught, a sound training is not; hand-computed standard errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from preceptor.evaluate.overoptimization import along_training, read_training


def rows(looks: int, prompts: int, *, samples: int = 1) -> list[dict[str, Any]]:
    return [
        {"update": 5 * look, "prompt": f"p{p}", "score": 0.1 * look, "kl": float(look)}
        for look in range(looks)
        for p in range(prompts)
        for _ in range(samples)
    ]


def test_the_drop_is_counted_in_standard_errors_of_the_peak() -> None:
    gold = [0, 0, 0, 0, 1, 2, 3, 4, 1, 1, 2, 2]  # three looks at four prompts: means 0, 2.5 and 1.5
    found = along_training(rows(3, 4), gold, published=10)
    assert found["peak"] == 5
    assert found["drop"] == 1.0
    assert found["standard_error"] == pytest.approx(np.std([1, 2, 3, 4], ddof=1) / 2)
    assert found["drop_in_se"] == pytest.approx(1.0 / (np.std([1, 2, 3, 4], ddof=1) / 2))
    assert [look["gold"] for look in found["looks"]] == [0.0, 2.5, 1.5]
    assert [(look["kl"], look["score"]) for look in found["looks"]] == [(0.0, 0.0), (1.0, 0.1), (2.0, 0.2)]
    assert along_training(rows(3, 4), gold, published=5)["drop_in_se"] == 0.0


def test_answers_to_one_prompt_are_one_piece_of_evidence() -> None:
    gold = np.repeat([0.0, 0, 0, 0, 1, 2, 3, 4], 4)  # the same answer four times tells nothing new
    found = along_training(rows(2, 4, samples=4), gold, published=0)
    assert found["standard_error"] == pytest.approx(np.std([1, 2, 3, 4], ddof=1) / 2)


def test_a_prompt_with_more_answers_weighs_no_more_than_another() -> None:
    more = [row for row in rows(2, 4) for _ in range(3 if row["prompt"] == "p0" else 1)]
    found = along_training(more, [4, 4, 4, 0, 0, 0, 8, 8, 8, 0, 0, 0], published=0)
    assert [look["gold"] for look in found["looks"]] == [1.0, 2.0]
    assert found["drop"] == 1.0


def test_without_any_spread_at_the_peak_a_drop_is_no_number_of_standard_errors() -> None:
    gold = [0, 0, 0, 0, 1, 1, 1, 1]
    assert along_training(rows(2, 4), gold, published=0)["drop_in_se"] is None
    assert along_training(rows(2, 4), gold, published=5)["drop_in_se"] == 0.0


@pytest.mark.parametrize(
    ("given", "published", "reason"),
    [
        ([], 0, "left no answers"),
        (rows(3, 4), 7, "not looked at"),
        (rows(3, 4), None, "not looked at"),
        (rows(1, 4), 0, "one look only"),
        (rows(3, 3), 0, "too few"),
    ],
)
def test_what_cannot_be_judged_is_not_measured(given: list[dict[str, Any]], published: int | None, reason: str) -> None:
    found = along_training(given, np.zeros(len(given)), published=published)
    assert reason in found["not_measured"]
    assert "drop_in_se" not in found


def _refused(curve: np.ndarray[Any, Any], proxy: np.ndarray[Any, Any], *, runs: int, seed: int) -> float:
    """Share of simulated trainings more than one standard error below the peak, published by the reward model."""
    rng = np.random.default_rng(seed)
    looks, prompts, refused = len(curve), 16, 0
    given = rows(looks, prompts)
    for _ in range(runs):
        taste = rng.normal(0, 0.7, prompts)
        gold = curve[:, None] + taste + rng.normal(0, 0.7, (looks, prompts))
        luck = gold.mean(1) - curve  # what the sampled answers share, both judges see
        seen = proxy + 0.8 * luck + 0.6 * rng.normal(0, 0.7 / 4, looks)
        found = along_training(given, gold.ravel(), published=5 * int(np.argmax(seen)))
        refused += found["drop_in_se"] > 1.0
    return refused / runs


def test_planted_over_optimization_is_caught_and_a_sound_training_is_not() -> None:
    way = np.arange(6) / 5
    rising, hump = way, np.where(way < 0.5, 2 * way, 1 - 2 * (way - 0.5))
    plateau, half = np.minimum(2 * way, 1.0), np.where(way < 0.5, 2 * way, 1 - (way - 0.5))
    assert _refused(rising, rising, runs=300, seed=1) < 0.035
    assert _refused(plateau, plateau, runs=300, seed=2) < 0.035
    assert 0.6 < _refused(half, way, runs=300, seed=4) < 0.73
    assert _refused(hump, way, runs=300, seed=3) > 0.85  # the reward model rises on while the truth falls back


def test_what_training_left_is_read_whatever_breaks_a_line_of_an_answer(tmp_path: Path) -> None:
    row = {"update": 0, "prompt": "p", "response": "one\u2028two\x85three", "score": 0.0, "kl": 0.0}
    (tmp_path / "preceptor.json").write_text('{"published_update": 0}')
    (tmp_path / "held_out.jsonl").write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8")
    assert read_training(tmp_path) == ([row], {"published_update": 0})
    assert read_training(tmp_path / "none") == ([], {})
