"""A report in; what the page shows of the gold judge, the frontier, the training, slices and red lines, out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from preceptor.plots import svg


def frontier_plot(report: Mapping[str, Any]) -> tuple[Markup | None, str]:
    """The reward-KL frontier with the best-of-n curve, and its reading in one sentence."""
    found = report.get("frontier") or {}
    curve, ours = found.get("best_of_n") or [], found.get("candidate") or {}
    judge = "gold" if ours.get("gold") else "reward"
    if not curve or ours.get("kl") is None:
        return None, "The frontier was not measured: " + str((found.get("against") or {}).get("not_measured", "no KL"))
    lines = [
        svg.Series(
            f"Best of 1 to {curve[-1]['n']} baseline answers",
            [max(0.0, one["kl"]) for one in curve],
            [one[judge]["estimate"] for one in curve],
            second=True,
        )
    ]
    looks = (found.get("path") or {}).get("looks")
    if looks:
        kls = [max(0.0, look["kl"]) for look in looks]
        heights = [look["gold" if judge == "gold" else "score"] for look in looks]
        lines.append(svg.Series("Along training, on other prompts", kls, heights))
    point = svg.Point(
        "Candidate", max(0.0, ours["kl"]), *(number(ours[judge].get(k)) for k in ("estimate", "low", "high"))
    )
    named = "the gold judge" if judge == "gold" else "the reward model"
    drawn = svg.frontier(
        f"Mean score by {named} against KL from the baseline",
        lines,
        [point],
        x_label="KL from the baseline (nats)",
        y_label="Score",
    )
    return Markup(drawn), f"{_against(found.get('against') or {}, named)} {_path_note(found)}".strip()  # noqa: S704


def _against(against: Mapping[str, Any], named: str) -> str:
    if "estimate" not in against:
        return f"Whether it beats best-of-n was not measured: {against.get('not_measured', 'no scores')}."
    gain, n = against["estimate"], against["n"]
    verdict = "more" if gain >= 0 else "less"
    where = (
        f"the best of {n:.1f} baseline answers, which lies at the same KL"
        if against.get("equal_kl")
        else f"the best of {n:.0f} baseline answers, the most that were drawn; that lies nearer to the baseline "
        f"({against['kl']:.2f} nats), so best-of-n would reach further with more answers"
    )
    return (
        f"By {named}, the candidate scores {abs(gain):.2f} {verdict} "
        f"(95 % {number(against['low']):+.2f} to {number(against['high']):+.2f}) than {where}."
    )


def _path_note(found: Mapping[str, Any]) -> str:
    reason = (found.get("path") or {}).get("not_measured")
    return f"The way through training is not drawn: {reason}." if reason else ""


def training_plot(report: Mapping[str, Any]) -> tuple[Markup | None, str]:
    """Both judges' scores of held-out answers along training, and where the published policy lies."""
    found = report.get("along_training") or {}
    looks = found.get("looks")
    if not looks:
        return None, f"This was not measured: {found.get('not_measured', 'the policy keeps no such answers')}."
    rollouts = [look["update"] for look in looks]
    drawn = svg.lines(
        "Mean scores of answers to held-out prompts along training",
        [
            svg.Series("gold judge", rollouts, [number(look["gold"]) for look in looks]),
            svg.Series("reward model", rollouts, [number(look["score"]) for look in looks], second=True),
        ],
        x_label="roll-outs of training",
        y_label="Score",
    )
    drop = found.get("drop_in_se")
    place = (
        "where the gold judge's score is highest"
        if found["published"] == found["peak"]
        else f"{number(found['drop']):.2f} below the gold judge's highest score, which was after {found['peak']} "
        f"roll-outs: {'an unknown number of' if drop is None else f'{drop:.1f}'} standard errors"
    )
    return (
        Markup(drawn),  # noqa: S704 - plots escape their labels
        f"The candidate is the policy after {found['published']} roll-outs, {place}. {found['prompts']} prompts, "
        "which neither the gold judge nor the policy was trained on.",
    )


def gold_said(report: Mapping[str, Any]) -> str:
    """Who the gold judge is and how far it can be trusted, or why there is none."""
    gold = report.get("gold") or {}
    if "raters" not in gold:
        return f"There is no second judge: {gold.get('not_measured', 'none was asked')}."
    accuracy = gold.get("accuracy") or {}
    right = svg.estimate(_interval("", accuracy), percent=True)
    return (
        f"The gold judge learned from {gold['raters']} clinicians ({gold.get('pairs', '?')} pairs) of whom the reward "
        f"model saw nothing, and was never at hand in training. It ranks held-out pairs as their clinicians did in "
        f"{right}, and prefers the same answer as the reward model on "
        f"{svg.share(number(gold.get('same_preference')), percent=True)}. Both read through one encoder and share what "
        "that cannot see."
    )


def order_said(report: Mapping[str, Any]) -> str:
    """Whether the order of the answers could mislead the judge, and how much it did."""
    order = report.get("order") or {}
    if not order.get("sensitive"):
        return f"Order of the answers: {order['reason']}." if order.get("reason") else ""
    first = order["first_place_wins"]
    bounds = _interval("", first)
    return (
        "Every pair was judged in both orders, and a verdict that changed with the order counts as a tie "
        f"({order['turned']} pairs). The first place won {svg.estimate(bounds, percent=True)}."
    )


def slice_plots(report: Mapping[str, Any]) -> list[tuple[str, Markup]]:
    """The win rate in each part of the prompts, by agent, specialty and length."""
    titles = {"agent": "By agent", "specialty": "By specialty", "length": "Where the candidate's answer is"}
    found = []
    for name, rows in (report.get("slices") or {}).items():
        shown = [_interval(f"{row['value']} ({row['n']})", row) for row in rows]
        plot = svg.intervals(f"Win rate {titles.get(name, name).lower()}", shown, reference=0.5, percent=True)
        found.append((titles.get(name, name), Markup(plot)))  # noqa: S704 - plots escape their labels
    return found


def red_lines_said(report: Mapping[str, Any]) -> str:
    """Outcomes on the prompts of a file, where one was asked."""
    found = report.get("red_lines")
    if not found:
        return ""
    rise = found["critical_rise"]
    bounds = _interval("", rise)
    return (
        f"Of {found['prompts']} prompts of {found['file']}, the candidate fails critically on "
        f"{found['candidate']['critical']} and the baseline on {found['baseline']['critical']}; it refuses or "
        f"redirects on {found['candidate']['safe']}, the baseline on {found['baseline']['safe']}. Rise of critical "
        f"failures: {svg.estimate(bounds, percent=True)}."
    )


def sign_rows(report: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Refusals and language of ordinary answers: name, candidate, baseline."""
    signs = report.get("signs") or {}
    named = (("refusal", "Ordinary prompts refused"), ("language", "Answers in another language, or in none"))
    return [
        (
            name,
            svg.share(number(signs[key].get("candidate")), percent=True),
            svg.share(number(signs[key].get("baseline")), percent=True),
        )
        for key, name in named
        if key in signs
    ]


def _interval(label: str, found: Mapping[str, Any]) -> svg.Interval:
    return svg.Interval(label, number(found.get("estimate")), number(found.get("low")), number(found.get("high")))


def number(value: Any) -> float:
    """A report's number; NaN where it says none."""
    return math.nan if value is None else float(value)
