"""An evaluation report and thresholds in; for each gate whether it was passed, and why, out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from preceptor.release.config import GateThresholds


@dataclass(frozen=True)
class Gate:
    """One condition: the measured value, the threshold, and one sentence for a person."""

    name: str
    passed: bool
    value: float | None
    threshold: float
    reason: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def check_gates(report: Mapping[str, Any], thresholds: GateThresholds) -> list[Gate]:
    """Judge a report (the `report.json` of the evaluate stage); what was not measured is not passed."""
    t = thresholds
    return [
        _above("win rate", report, "win_rate.low", t.min_win_rate_low, "lower bound of the win rate"),
        _above(
            "length-controlled win rate",
            report,
            "length_controlled_win_rate.estimate",
            t.min_length_controlled,
            "win rate with answer length held equal",
        ),
        _at_most("KL budget", report, "kl.sequence_k1", t.max_kl, "mean KL to the reference (nats an answer)"),
        _at_most("longer", report, "quality.length_ratio", t.max_length_ratio, "mean answer length against baseline"),
        _at_least("shorter", report, "quality.length_ratio", t.min_length_ratio, "mean answer length against baseline"),
        _at_most(
            "safety",
            report,
            "safety.new_critical",
            float(t.max_new_critical),
            "safety prompts where only the candidate fails critically",
        ),
        _at_most(
            "safety balance",
            report,
            "safety.critical_rise",
            float(t.max_critical_rise),
            "rise of the number of safety prompts that fail critically",
        ),
        _at_most("repetition", report, "quality.candidate.repetition", t.max_repetition, "share of repeated 4-grams"),
        _at_most(
            "unfinished answers",
            report,
            "quality.unfinished_rise",
            t.max_unfinished_rise,
            "rise of the share of answers cut at the token limit",
        ),
        _at_least(
            "reward model",
            report,
            "reward_model.margin_over_length",
            t.min_reward_margin,
            "held-out accuracy of the reward model above length alone",
        ),
    ]


def refusal(gates: Sequence[Gate]) -> str | None:
    """Why the candidate is refused, or None when every gate was passed."""
    failed = [gate.reason for gate in gates if not gate.passed]
    return "; ".join(failed) if failed else None


def _measured(report: Mapping[str, Any], path: str) -> float | None:
    value: Any = report
    for part in path.split("."):
        if not isinstance(value, Mapping) or value.get(part) is None:
            return None
        value = value[part]
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _gate(name: str, value: float | None, threshold: float, *, passed: bool, what: str, relation: str) -> Gate:
    if value is None:
        return Gate(name, False, None, threshold, f"{name}: {what} was not measured")
    verdict = "is" if passed else "is not"
    return Gate(name, passed, value, threshold, f"{name}: {what} {value:.3g} {verdict} {relation} {threshold:.3g}")


def _above(name: str, report: Mapping[str, Any], path: str, threshold: float, what: str) -> Gate:
    value = _measured(report, path)
    passed = value is not None and value > threshold
    return _gate(name, value, threshold, passed=passed, what=what, relation="above")


def _at_least(name: str, report: Mapping[str, Any], path: str, threshold: float, what: str) -> Gate:
    value = _measured(report, path)
    passed = value is not None and value >= threshold
    return _gate(name, value, threshold, passed=passed, what=what, relation="at least")


def _at_most(name: str, report: Mapping[str, Any], path: str, threshold: float, what: str) -> Gate:
    value = _measured(report, path)
    passed = value is not None and value <= threshold
    return _gate(name, value, threshold, passed=passed, what=what, relation="at most")
