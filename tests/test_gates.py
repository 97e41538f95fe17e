from __future__ import annotations

import copy
from typing import Any

import pytest

from preceptor.gate_rules import RULES, find
from preceptor.gates import GateThresholds, check_gates, refusal

GOOD: dict[str, Any] = {
    "win_rate": {"estimate": 0.7, "low": 0.58, "high": 0.8},
    "length_controlled_win_rate": {"estimate": 0.66},
    "kl": {"sequence_k1": 12.0},
    "quality": {"length_ratio": 1.1, "unfinished_rise": 0.0, "candidate": {"repetition": 0.02}},
    "safety": {"new_critical": 0, "critical_rise": 0, "safe_fall": {"estimate": 0.0, "low": -0.1, "high": 0.1}},
    "gold": {
        "win_rate": {"estimate": 0.66, "low": 0.54, "high": 0.78},
        "accuracy": {"estimate": 0.7, "low": 0.6, "high": 0.8},
    },
    "along_training": {"drop_in_se": 0.4},
    "frontier": {"against": {"estimate": 0.3, "low": 0.1, "high": 0.5}},
    "signs": {"distinct_2": {"estimate": 0.9}, "refusal": {"estimate": 0.0}, "language": {"estimate": 0.0}},
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
    assert len(gates) == 18
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
        ("safety.safe_fall.low", 0.01, "safe answers"),
        ("quality.candidate.repetition", 0.4, "repetition"),
        ("quality.unfinished_rise", 0.2, "unfinished answers"),
        ("reward_model.margin_over_length", 0.09, "reward model"),
        ("gold.win_rate.low", 0.5, "gold win rate"),
        ("gold.accuracy.low", 0.48, "gold judge"),
        ("along_training.drop_in_se", 1.1, "over-optimization"),
        ("signs.distinct_2.estimate", 0.49, "variety"),
        ("signs.refusal.estimate", 0.11, "refusals"),
        ("signs.language.estimate", 0.06, "language"),
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


@pytest.mark.parametrize(
    "value",
    [float("nan"), float("inf"), -float("inf"), 10**400, -(10**400), [0.1], {"low": 1}],
    ids=["nan", "infinity", "minus infinity", "huge", "minus huge", "list", "object"],
)
def test_no_gate_passes_on_what_is_no_finite_number(value: object) -> None:
    whole = {**copy.deepcopy(GOOD), "red_lines": {"critical_rise": {"high": 0.0}, "safe_fall": {"low": 0.0}}}
    thresholds = GateThresholds(require_best_of_n=True, require_red_lines=True)
    assert refusal(check_gates(whole, thresholds)) is None
    for rule in RULES:
        report = copy.deepcopy(whole)
        *parents, last = rule.path.split(".")
        find(report, ".".join(parents))[last] = value
        refused = [gate.name for gate in check_gates(report, thresholds) if gate.refuses]
        assert refused == [other.name for other in RULES if other.path == rule.path]


def test_the_last_digits_of_a_difference_decide_no_gate() -> None:
    report = changed("reward_model.margin_over_length", 0.7 - 0.6)  # 0.09999999999999998
    report["frontier"]["against"]["estimate"] = -1e-17
    gates = {gate.name: gate for gate in check_gates(report, GateThresholds(require_best_of_n=True))}
    assert gates["reward model"].passed
    assert gates["best of n"].passed
    assert "baseline answers 0 is at least 0" in gates["best of n"].reason


def test_an_empty_report_passes_no_gate() -> None:
    assert not any(gate.passed for gate in check_gates({}, GateThresholds()))


def test_every_gate_says_why_its_threshold_is_what_it_is_and_shows_the_interval() -> None:
    gates = {gate.name: gate for gate in check_gates(GOOD, GateThresholds(require_red_lines=True))}
    assert all(len(gate.why) > 40 for gate in gates.values())
    assert len({gate.why for gate in gates.values()}) == len(gates)
    assert (gates["win rate"].low, gates["win rate"].high) == (0.58, 0.8)
    assert (gates["best of n"].low, gates["best of n"].high) == (0.1, 0.5)


@pytest.mark.parametrize("part", ["gold", "along_training", "signs", "kl", "safety"])
def test_evidence_that_is_missing_refuses_and_its_reason_is_passed_on(part: str) -> None:
    gates = check_gates({**GOOD, part: {"not_measured": "for this reason"}}, GateThresholds())
    failed = [gate for gate in gates if gate.refuses]
    assert failed
    assert all("not measured (for this reason)" in gate.reason for gate in failed)
    assert all(gate.note == "for this reason" for gate in failed)


def test_gold_gates_that_are_not_required_report_and_refuse_nobody() -> None:
    doubtful = {**GOOD, "gold": {"win_rate": {"low": 0.3}, "accuracy": {"low": 0.4}}, "along_training": {}}
    assert refusal(check_gates(doubtful, GateThresholds())) is not None
    gates = check_gates(doubtful, GateThresholds(require_gold=False))
    assert refusal(gates) is None
    assert [gate.name for gate in gates if not gate.passed] == ["gold win rate", "gold judge", "over-optimization"]


def test_best_of_n_is_reported_and_refuses_only_when_asked() -> None:
    beaten = changed("frontier.against.estimate", -0.2)
    assert refusal(check_gates(beaten, GateThresholds())) is None
    assert "best of n" in str(refusal(check_gates(beaten, GateThresholds(require_best_of_n=True))))


@pytest.mark.parametrize(
    ("published", "said", "unsaid"),
    [(5, "before the peak, so nothing was over-optimized", "past"), (25, "past the peak, so it was over-", "before")],
)
def test_a_policy_before_the_peak_is_refused_for_another_reason_than_one_after_it(
    published: int, said: str, unsaid: str
) -> None:
    report = changed("along_training", {"drop_in_se": 1.4, "published": published, "peak": 15})
    reason = str(refusal(check_gates(report, GateThresholds())))
    assert said in reason
    assert unsaid not in reason
    assert f"after {published} roll-outs" in reason
    assert "after 15" in reason
    report["along_training"]["drop_in_se"] = 0.9
    assert not any("peak" in gate.reason.partition("(")[2] for gate in check_gates(report, GateThresholds()))


def test_best_of_n_says_whether_it_lies_at_the_candidates_kl_and_gives_both() -> None:
    against = {"estimate": 0.3, "low": 0.1, "high": 0.5, "n": 4.0, "kl": 0.636, "equal_kl": False}
    report = changed("frontier", {"against": against, "candidate": {"kl": 12.3}})
    best = {gate.name: gate for gate in check_gates(report, GateThresholds())}["best of n"]
    assert "not at equal KL" in best.note
    assert "0.64 nats, the candidate at 12.3" in best.note
    assert best.reason.endswith(f"({best.note})")
    report["frontier"] = {"against": {**against, "n": 2.5, "kl": 0.3, "equal_kl": True}, "candidate": {"kl": 0.3}}
    reasons = {gate.name: gate.reason for gate in check_gates(report, GateThresholds())}
    assert "best of 2.5 at the candidate's KL of 0.3 nats" in reasons["best of n"]


def test_a_red_line_file_counts_once_it_was_asked_and_its_absence_only_when_it_is_required() -> None:
    assert "red lines" not in [gate.name for gate in check_gates(GOOD, GateThresholds())]
    assert "red lines" in str(refusal(check_gates(GOOD, GateThresholds(require_red_lines=True))))
    fall = {"estimate": 0.1, "low": -0.01, "high": 0.2}
    asked = {**GOOD, "red_lines": {"critical_rise": {"estimate": 0.0, "low": -0.02, "high": 0.06}, "safe_fall": fall}}
    assert "red lines" in str(refusal(check_gates(asked, GateThresholds())))
    asked["red_lines"]["critical_rise"]["high"] = 0.05
    assert refusal(check_gates(asked, GateThresholds())) is None
    fall["low"] = 0.02
    assert "safe red lines" in str(refusal(check_gates(asked, GateThresholds())))
    assert refusal(check_gates(asked, GateThresholds(max_safe_fall=0.05))) is None
