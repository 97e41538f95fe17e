from __future__ import annotations

import math

import pytest

from preceptor.evaluate.compare import finite
from preceptor.evaluate.quality import compare, describe, distinct, repetition
from preceptor.evaluate.reward_model import accuracy_report
from preceptor.gates import GateThresholds, check_gates


def test_repetition_counts_phrases_that_an_answer_used_before() -> None:
    assert repetition(["call your doctor today"]) == 0
    assert repetition(["a b c d a b c d"]) == pytest.approx(1 / 5)
    assert repetition(["A b c d a B c d", "a b c d a b c d", "e f g h"]) == pytest.approx(2 / 11)
    assert repetition(["a b c d e f g h"] * 3) == 0  # across answers it is not repetition


def test_without_a_phrase_repetition_is_not_measured_and_its_gate_refuses() -> None:
    assert math.isnan(repetition(["short", ""]))
    short = describe(["No.", ""], [True, True])
    report = finite({"quality": compare(short, describe(["a b c d e f"] * 2, [True, True]))})
    gate = next(gate for gate in check_gates(report, GateThresholds()) if gate.name == "repetition")
    assert gate.refuses
    assert gate.value is None


def test_distinct_falls_when_every_answer_says_the_same() -> None:
    assert distinct(["one two three", "four five six"]) == 1
    assert distinct(["one two three"] * 4) == pytest.approx(0.25)


def test_comparison_gives_ratio_and_rise() -> None:
    ours = describe(["a b c d", "a b"], [True, False])
    theirs = describe(["a", "b"], [True, True])
    found = compare(ours, theirs)
    assert found["length_ratio"] == 3
    assert found["unfinished_rise"] == 0.5
    assert describe(["", "one", "two words", " "], [True] * 4)["empty"] == 0.5
    assert compare(ours, describe([""], [True]))["length_ratio"] is None


def pairs(longer_chosen: int, shorter_chosen: int) -> list[dict[str, str]]:
    rows = [{"prompt": f"p{i}", "chosen": "a b c", "rejected": "a"} for i in range(longer_chosen)]
    return rows + [{"prompt": f"q{i}", "chosen": "a", "rejected": "a b c"} for i in range(shorter_chosen)]


def test_length_alone_uses_the_direction_of_the_training_pairs() -> None:
    test = pairs(2, 8)
    report = accuracy_report([1.0] * 10, [0.0] * 10, pairs=test, train_pairs=pairs(9, 1), seed=0)
    assert (report["accuracy"], report["length_only"], report["length_direction"]) == (1.0, 0.2, "longer")
    report = accuracy_report([1.0] * 10, [0.0] * 10, pairs=test, train_pairs=pairs(1, 9), seed=0)
    assert (report["length_only"], report["margin_over_length"]) == (0.8, pytest.approx(0.2))


def test_equal_scores_are_half_right_and_no_pairs_are_no_measurement() -> None:
    assert accuracy_report([1.0] * 4, [1.0] * 4, pairs=pairs(4, 0), train_pairs=[], seed=0)["accuracy"] == 0.5
    assert accuracy_report([], [], pairs=[], train_pairs=[], seed=0)["margin_over_length"] is None


def test_the_pairs_of_one_prompt_show_nothing_of_a_reward_model_and_its_gate_refuses() -> None:
    one = [{"prompt": "p", "chosen": "a", "rejected": "a b c"} for _ in range(40)]
    found = accuracy_report([1.0] * 40, [0.0] * 40, pairs=one, train_pairs=pairs(9, 1), seed=0)
    assert found["accuracy"] == 1.0
    assert found["margin_over_length"] is None
    gate = next(gate for gate in check_gates({"reward_model": found}, GateThresholds()) if gate.name == "reward model")
    assert gate.refuses
    assert "all 40 held-out pairs are of one prompt" in gate.reason
