"""A report, its judged answers and the release gates in; one self-contained HTML page for a clinical lead out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from preceptor.evaluate import findings
from preceptor.gates import Gate, GateThresholds, check_gates
from preceptor.plots import svg
from preceptor.plots.report import render_report as fill

_SHOWN = 4
_JUDGES = {
    "reward_model": "the reward model",
    "ratings": "people's ratings",
    "verdicts": "people's comparisons",
    "given": "the given judge",
}
_LOOKS = (
    ("mean_words", "Words an answer"),
    ("finished", "Answers that end by themselves"),
    ("repetition", "Repeated 4-word phrases"),
    ("distinct_2", "Different word pairs, all answers together"),
    ("empty", "Empty answers"),
)
_RANKS = {"safe": 0, "missed": 1, "critical": 2}


def render_report(
    report: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    *,
    thresholds: GateThresholds | None = None,
    back: tuple[str, str] | None = None,
) -> str:
    """The whole page. `thresholds` are those that a release applied, the standard ones when absent; `back` is the
    address and name of the page that this one was opened from.
    """
    gates = check_gates(report, thresholds or GateThresholds())
    safety = report.get("safety")
    return fill(
        "preceptor.evaluate",
        "report.html",
        back=back,
        report=report,
        verdict=verdict(report, gates),
        cautions=cautions(report),
        gates=gates,
        gates_note="The thresholds that this round's release applied."
        if thresholds
        else "The standard thresholds; a release may be given others.",
        plots=_plots(report),
        safety=safety,
        worse=[row for row in safety.get("rows", []) if _is_worse(row)] if safety else [],
        looks=_looks(report["quality"]) + findings.sign_rows(report),
        frontier=findings.frontier_plot(report),
        training=findings.training_plot(report),
        gold=findings.gold_said(report),
        order=findings.order_said(report),
        slices=findings.slice_plots(report),
        red_lines=findings.red_lines_said(report),
        distance=_distance(report.get("kl") or {}),
        examples=_examples(rows),
        origin=_origin(report),
    )


def verdict(report: Mapping[str, Any], gates: Sequence[Gate]) -> dict[str, Any]:
    """The headline, one sentence on the win rate, the reasons against a release, and how grave it is."""
    required = [gate for gate in gates if gate.required]
    won, failed = report["win_rate"], [gate for gate in required if not gate.passed]
    low, high = _bound(won.get("low"), -math.inf), _bound(won.get("high"), math.inf)
    better = "Better" if low > 0.5 else "Worse" if high < 0.5 else "Not shown to be better"
    agreed = "and" if better == "Better" and not failed else "but" if better == "Better" or not failed else "and"
    passed = f"every one of {len(required)} gates is passed"
    missed = f"{len(failed)} of {len(required)} gates {'is' if len(failed) == 1 else 'are'} not passed"
    interval = svg.Interval("", _bound(won.get("estimate"), math.nan), low, high)
    return {
        "headline": f"{better} by {_JUDGES[str(report['judge'])]}, {agreed} {missed if failed else passed}",
        "said": f"The candidate wins {svg.share(interval.point, percent=True)} of {report['n_prompts']} held-out "
        f"prompts, which no training pair used. The 95 % interval is {_words(interval)}; above 50 % means better than "
        "the baseline.",
        "against": [gate.reason[:1].upper() + gate.reason[1:] + "." for gate in failed],
        "style": "bad" if better == "Worse" else "good" if better == "Better" and not failed else "warn",
    }


def cautions(report: Mapping[str, Any]) -> list[str]:
    """What a reader must know before believing the win rate: whose it is, and signs that the judge was gamed."""
    found = []
    ours, theirs = report["quality"]["candidate"], report["quality"]["baseline"]
    if report["judge"] == "reward_model":
        found.append(
            "The judge is a reward model of the kind that the candidate was trained to please, so the win rate leans "
            "toward the candidate. People's ratings or an experiment show whether clinicians agree."
        )
    if ours["distinct_2"] < 0.5 * theirs["distinct_2"]:
        found.append(
            f"The candidate's answers resemble each other: {svg.share(ours['distinct_2'], percent=True)} of their word "
            f"pairs differ, {svg.share(theirs['distinct_2'], percent=True)} in the baseline's. It may have learned one "
            "answer that pleases its judge; read the examples below."
        )
    ratio = report["quality"]["length_ratio"]
    if ratio is not None and not 0.8 <= ratio <= 1.25:
        than = f"{abs(1 - ratio):.0%} {'longer' if ratio > 1 else 'shorter'} than"
        found.append(f"The candidate's answers are {than} the baseline's; compare the win rate at equal length.")
    if report["n_prompts"] < 30:
        found.append(f"Only {report['n_prompts']} prompts were compared; the intervals are rough at that number.")
    return found


def _plots(report: Mapping[str, Any]) -> dict[str, Markup]:
    rows = [_row(f"By {_JUDGES[str(report['judge'])]}", report["win_rate"])]
    rows.append(_row("The same, length held equal", report["length_controlled_win_rate"]))
    if (report.get("gold") or {}).get("win_rate"):
        rows.append(_row("By the gold judge", report["gold"]["win_rate"]))
    if report["judge"] != "reward_model":
        rows.append(_row("By the reward model", report["reward_win_rate"]))
    counts, model = report["outcomes"], report["reward_model"]
    outcomes = [
        (name, counts[key], style)
        for name, key, style in (("better", "wins", "first"), ("equal", "ties", "rest"), ("worse", "losses", "second"))
    ]
    trusted = []
    if model.get("accuracy") is not None:
        trusted.append(_row("Reward model", {**model, "estimate": model["accuracy"]}))
        trusted.append(svg.Interval("Length alone", _bound(model["length_only"], math.nan), second=True))
    drawn = {
        "win": svg.intervals("Win rate against the baseline", rows, reference=0.5, percent=True),
        "outcomes": svg.proportions("Candidate's answers against the baseline's", outcomes),
        "reward": svg.intervals("Accuracy on held-out pairs", trusted, reference=0.5, percent=True) if trusted else "",
    }
    return {name: Markup(plot) for name, plot in drawn.items()}  # noqa: S704 - plots escape their labels


def _row(label: str, found: Mapping[str, Any]) -> svg.Interval:
    point, low, high = (_bound(found.get(key), math.nan) for key in ("estimate", "low", "high"))
    return svg.Interval(label, point, low, high)


def _bound(value: Any, unknown: float) -> float:
    return unknown if value is None else float(value)


def _words(interval: svg.Interval) -> str:
    if not (math.isfinite(interval.low) and math.isfinite(interval.high)):
        return "not known"
    return f"{100 * interval.low:.0f} to {svg.share(interval.high, percent=True)}"


def _is_worse(row: Mapping[str, Any]) -> bool:
    return _RANKS[row["candidate"]] > _RANKS[row["baseline"]]


def _looks(quality: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    def say(key: str, value: float | None) -> str:
        found = _bound(value, math.nan)
        return f"{found:.1f}" if key == "mean_words" else svg.share(found, percent=True)

    return [(name, say(key, quality["candidate"][key]), say(key, quality["baseline"][key])) for key, name in _LOOKS]


def _distance(kl: Mapping[str, Any]) -> str:
    if "sequence_k1" not in kl:
        return f"The distance to the baseline (KL) was not measured. {kl.get('not_measured', '')}".strip()
    return (
        f"Distance to the baseline (KL): {_bound(kl['sequence_k1'], math.nan):.3g} nats an answer, "
        f"{_bound(kl['token_k3'], math.nan):.2g} nats a word piece (k3). The larger, the less it is the model it was."
    )


def _examples(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    usual, rest = list(rows[:_SHOWN]), list(rows[_SHOWN:])
    rest.sort(key=lambda row: row["candidate_score"] - row["baseline_score"])
    worst, best = rest[:_SHOWN], rest[_SHOWN:][-_SHOWN:][::-1]
    groups = [
        ("The first prompts, not chosen by result", usual),
        ("Where the candidate does worst against the baseline", worst),
        ("Where it does best", best),
    ]
    return [{"title": title, "rows": found, "open": found is usual} for title, found in groups if found]


def _origin(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    sampling = report.get("sampling", {})
    drawn = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in sampling.items())
    named = (
        ("Candidate", "policy"),
        ("Baseline", "baseline"),
        ("Baseline's digest", "baseline_digest"),
        ("Reward model", "reward_model_artifact"),
        ("Dataset", "dataset"),
        ("Prompts", "n_prompts"),
        ("Seed", "seed"),
    )
    return [*((label, str(report[key])) for label, key in named if key in report), ("Sampling", drawn)]
