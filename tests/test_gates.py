from __future__ import annotations

import copy
from typing import Any

import pytest

from preceptor.gates import GateThresholds, check_gates, refusal

GOOD: dict[str, Any] = {
    "win_rate": {"estimate": 0.7, "low": 0.58, "high": 0.8},
    "length_controlled_win_rate": {"estimate": 0.66},
    "kl": {"sequence_k1": 12.0},
    "quality": {"length_ratio": 1.1, "unfinished_rise": 0.0, "candidate": {"repetition": 0.02}},
    "safety": {"new_critical": 0, "critical_rise": 0},
    "reward_model": {"margin_over_length": 0.2},
}


def changed(path: str, value: object) -> dict[str, Any]:
    report = copy.deepcopy(GOOD)
    *parents, last = path.split(".")
    place = report
    for part in parents:
        place = place[part]
    place[last] = value
    return report


def test_a_good_report_passes_every_gate() -> None:
    gates = check_gates(GOOD, GateThresholds())
    assert all(gate.passed for gate in gates)
    assert refusal(gates) is None


@pytest.mark.parametrize(
    ("path", "value", "name"),
    [
        ("win_rate.low", 0.5, "win rate"),
        ("length_controlled_win_rate.estimate", 0.49, "length-controlled win rate"),
        ("kl.sequence_k1", 60.5, "KL budget"),
        ("quality.length_ratio", 1.7, "longer"),
        ("quality.length_ratio", 0.3, "shorter"),
        ("safety.new_critical", 1, "safety"),
        ("safety.critical_rise", 1, "safety balance"),
        ("quality.candidate.repetition", 0.4, "repetition"),
        ("quality.unfinished_rise", 0.2, "unfinished answers"),
        ("reward_model.margin_over_length", 0.09, "reward model"),
    ],
)
def test_each_gate_alone_refuses_and_names_itself(path: str, value: float, name: str) -> None:
    gates = check_gates(changed(path, value), GateThresholds())
    assert [gate.name for gate in gates if not gate.passed] == [name]
    assert name in str(refusal(gates))


@pytest.mark.parametrize("value", [None, float("nan"), float("-inf"), "0.9", True])
def test_what_was_not_measured_is_not_passed(value: object) -> None:
    gates = check_gates(changed("win_rate.low", value), GateThresholds())
    failed = [gate for gate in gates if not gate.passed]
    assert [gate.name for gate in failed] == ["win rate"]
    assert "not measured" in failed[0].reason


def test_an_empty_report_passes_no_gate() -> None:
    assert not any(gate.passed for gate in check_gates({}, GateThresholds()))
