"""An evaluation report and thresholds in; for each gate whether it was passed, and why, out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from preceptor.gate_rules import RULES, Rule, find, measured
from preceptor.thresholds import GateThresholds

__all__ = ["Gate", "GateThresholds", "check_gates", "refusal"]


@dataclass(frozen=True)
class Gate:
    """One condition: what was measured, what is demanded of it, and a sentence for a person on both."""

    name: str
    passed: bool
    value: float | None
    threshold: float
    what: str
    relation: str  # how the value must lie to the threshold: above | at least | at most
    reason: str  # of the result
    why: str = ""  # the threshold is what it is
    note: str = ""  # more on the result: what it was measured at, or why it was not measured
    low: float | None = None  # 95 % interval of what was measured, where it has one
    high: float | None = None
    required: bool = True  # one that is not required is reported and refuses nobody

    @property
    def refuses(self) -> bool:
        return self.required and not self.passed

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def check_gates(report: Mapping[str, Any], thresholds: GateThresholds) -> list[Gate]:
    """Judge a report (the `report.json` of the evaluate stage); what was not measured is not passed."""
    gates = [_gate(rule, report, thresholds) for rule in RULES]
    rules = zip(RULES, gates, strict=True)
    return [gate for rule, gate in rules if gate.required or gate.value is not None or not rule.only_measured]


def refusal(gates: Sequence[Gate]) -> str | None:
    """Why the candidate is refused, or None when every required gate was passed."""
    failed = [gate.reason for gate in gates if gate.refuses]
    return "; ".join(failed) if failed else None


def _gate(rule: Rule, report: Mapping[str, Any], thresholds: GateThresholds) -> Gate:
    threshold = float(getattr(thresholds, rule.setting))
    value = measured(report, rule.path)
    asked = bool(getattr(thresholds, rule.required_by)) if rule.required_by else True
    # what was measured on a file that somebody chose to ask is not set aside
    required = asked or (rule.only_measured and value is not None)
    low, high = (measured(report, f"{rule.of}.{end}") if rule.of else None for end in ("low", "high"))
    if value is None:
        note = _measurement_missing(report, rule)
        reason = f"{rule.name}: {rule.what} was not measured{_in_brackets(note)}"
        return Gate(
            rule.name, False, None, threshold, rule.what, rule.relation, reason, rule.why, note, required=required
        )
    passed = {
        "above": value > threshold,
        "at least": value >= threshold,
        "at most": value <= threshold,
    }[rule.relation]
    verdict = "is" if passed else "is not"
    note = rule.note(report, passed) if rule.note is not None else ""
    reason = f"{rule.name}: {rule.what} {value:.3g} {verdict} {rule.relation} {threshold:.3g}{_in_brackets(note)}"
    return Gate(
        rule.name, passed, value, threshold, rule.what, rule.relation, reason, rule.why, note, low, high,
        required=required,
    )  # fmt: skip


def _in_brackets(note: str) -> str:
    return f" ({note})" if note else ""


def _measurement_missing(report: Mapping[str, Any], rule: Rule) -> str:
    """What the report says of why a part of it was not measured."""
    parts = rule.path.split(".")
    for end in range(len(parts) - 1, 0, -1):
        found = find(report, ".".join(parts[:end]))
        if isinstance(found, Mapping) and isinstance(found.get("not_measured"), str):
            return str(found["not_measured"])
    return ""
