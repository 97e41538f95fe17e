"""A report and its judged answers in; one self-contained HTML page for a clinical lead out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

_SHOWN = 4
_STYLE = """
:root { color-scheme: light dark; --ink: #1c2b33; --soft: #5b6b73; --line: #d7dfe3; --paper: #fbfcfc; --card: #fff;
  --ours: #0f766e; --theirs: #b45309; --even: #94a3ab; --bad: #b91c1c; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4ecef; --soft: #9fb0b8; --line: #33434b; --paper: #121a1e;
  --card: #1a2429; --ours: #2dd4bf; --theirs: #fbbf24; --even: #64757d; --bad: #f87171; } }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 58rem; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 .25rem; } h2 { font-size: 1.1rem; margin: 2.2rem 0 .6rem; }
p { margin: .4rem 0; } .soft { color: var(--soft); } .bad { color: var(--bad); font-weight: 600; }
section.card, details { background: var(--card); border: 1px solid var(--line); border-radius: 10px;
  padding: 1rem 1.2rem; margin: .8rem 0; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .35rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top; }
td.n, th.n { text-align: right; } svg { width: 100%; height: auto; display: block; } svg text { fill: var(--ink);
  font: 13px system-ui, sans-serif; } summary { cursor: pointer; } .pair { display: grid; gap: 1rem;
  grid-template-columns: 1fr 1fr; } @media (max-width: 40rem) { .pair { grid-template-columns: 1fr; } }
.ours { color: var(--ours); } .theirs { color: var(--theirs); }
"""


def render_report(report: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> str:
    """The whole page; every text that came from a model or a file is escaped."""
    judge = {"reward_model": "the reward model", "ratings": "people's ratings", "given": "the given judge"}
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
        "<meta name='viewport' content='width=device-width, initial-scale=1'>",
        f"<title>Evaluation of {escape(str(report['policy']))}</title><style>{_STYLE}</style></head><body>",
        "<h1>Is the new agent better?</h1>",
        f"<p class='soft'>Candidate {escape(str(report['policy']))} against {escape(str(report['baseline']))}: "
        f"{report['n_prompts']} prompts that neither was trained on, judged by {judge[str(report['judge'])]}.</p>",
        _win_section(report),
        _quality_section(report),
        _safety_section(report.get("safety")),
        _reward_section(report["reward_model"]),
        _examples(rows),
        "</body></html>",
    ]
    return "\n".join(parts)


def _win_section(report: Mapping[str, Any]) -> str:
    lines = [
        ("Win rate", report["win_rate"]),
        ("Win rate, length held equal", report["length_controlled_win_rate"]),
        ("Win rate by the reward model", report["reward_win_rate"]),
    ]
    counts = report["outcomes"]
    return (
        "<h2>Preference</h2><section class='card'>"
        f"{_intervals_svg(lines)}<p class='soft'>Ties count half. The bar is the 95 % interval from resampling whole "
        "prompts; right of the middle line the candidate is preferred.</p>"
        f"{_counts_svg(counts)}</section>"
    )


def _intervals_svg(lines: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    left, width, step = 230, 400, 40
    height = step * len(lines) + 34
    shapes = [f"<line x1='{left + width / 2}' x2='{left + width / 2}' y1='6' y2='{height - 24}' stroke='var(--even)'/>"]
    for tick in (0, 0.25, 0.5, 0.75, 1):
        shapes.append(f"<text x='{left + tick * width}' y='{height - 6}' text-anchor='middle'>{tick:g}</text>")
    for i, (name, interval) in enumerate(lines):
        y = 24 + i * step
        low, high, middle = (_clamped(interval[key]) * width + left for key in ("low", "high", "estimate"))
        shapes.append(
            f"<text x='0' y='{y + 5}'>{escape(name)}</text>"
            f"<line x1='{low:.1f}' x2='{high:.1f}' y1='{y}' y2='{y}' stroke='var(--ours)' stroke-width='4'/>"
            f"<circle cx='{middle:.1f}' cy='{y}' r='6' fill='var(--ours)'/>"
            f"<text x='{left + width + 14}' y='{y + 5}'>{_number(interval['estimate'])} "
            f"({_number(interval['low'])} to {_number(interval['high'])})</text>"
        )
    label = "; ".join(f"{name} {_number(interval['estimate'])}" for name, interval in lines)
    return f"<svg viewBox='0 0 800 {height}' role='img' aria-label='{escape(label)}'>{''.join(shapes)}</svg>"


def _counts_svg(counts: Mapping[str, int]) -> str:
    total = max(1, sum(counts.values()))
    x, shapes = 0.0, []
    for name, color in (("wins", "var(--ours)"), ("ties", "var(--even)"), ("losses", "var(--theirs)")):
        width = 800 * counts[name] / total
        shapes.append(f"<rect x='{x:.1f}' y='0' width='{width:.1f}' height='22' fill='{color}'/>")
        x += width
    words = f"{counts['wins']} better, {counts['ties']} equal, {counts['losses']} worse"
    return f"<svg viewBox='0 0 800 22' role='img' aria-label='{words}'>{''.join(shapes)}</svg><p>{words}</p>"


def _quality_section(report: Mapping[str, Any]) -> str:
    described = report["quality"]
    names = {
        "mean_words": "Words an answer",
        "finished": "Answers that end by themselves",
        "repetition": "Repeated 4-word phrases",
        "distinct_2": "Different word pairs",
        "empty": "Empty answers",
    }
    rows = "".join(
        f"<tr><td>{words}</td><td class='n'>{_number(described['candidate'][key])}</td>"
        f"<td class='n'>{_number(described['baseline'][key])}</td></tr>"
        for key, words in names.items()
    )
    kl = report.get("kl") or {}
    distance = (
        f"KL to the baseline: {_number(kl['sequence_k1'])} nats an answer, {_number(kl['token_k3'])} a word piece (k3)."
        if "sequence_k1" in kl
        else f"KL to the baseline was not measured. {escape(str(kl.get('not_measured', '')))}"
    )
    return (
        "<h2>How the answers look</h2><section class='card'><table><tr><th></th><th class='n ours'>candidate</th>"
        f"<th class='n theirs'>baseline</th></tr>{rows}</table><p class='soft'>Length ratio "
        f"{_number(described['length_ratio'])}. {distance}</p></section>"
    )


def _safety_section(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return "<h2>Safety prompts</h2><p class='bad'>Not measured.</p>"
    rows = "".join(
        f"<tr><td>{name}</td><td class='n'>{found['candidate'][key]}</td>"
        f"<td class='n'>{found['baseline'][key]}</td></tr>"
        for key, name in (("safe", "Safe"), ("missed", "Missed the point"), ("critical", "Critical failure"))
    )
    new = ", ".join(escape(str(name)) for name in found["new_critical_ids"])
    verdict = f"<p class='bad'>New critical failures: {new}.</p>" if new else "<p>No new critical failure.</p>"
    return (
        f"<h2>Safety prompts</h2><section class='card'>{verdict}<table><tr><th>{found['prompts']} prompts</th>"
        f"<th class='n ours'>candidate</th><th class='n theirs'>baseline</th></tr>{rows}</table>"
        "<p class='soft'>Checked by patterns, which find clear harm and do not prove that an answer is good.</p>"
        "</section>"
    )


def _reward_section(model: Mapping[str, Any]) -> str:
    if model.get("accuracy") is None:
        return "<h2>Can the reward model be trusted?</h2><p class='bad'>No held-out pair: not measured.</p>"
    return (
        "<h2>Can the reward model be trusted?</h2><section class='card'><p>It agrees with clinicians on "
        f"{_number(model['accuracy'])} of {model['n']} held-out pairs (95 % {_number(model['low'])} to "
        f"{_number(model['high'])}); preferring the {escape(str(model['length_direction']))} answer alone reaches "
        f"{_number(model['length_only'])}.</p></section>"
    )


def _examples(rows: Sequence[Mapping[str, Any]]) -> str:
    ordered = sorted(rows, key=lambda row: row["candidate_score"] - row["baseline_score"])
    chosen = [("Largest gains", ordered[::-1][:_SHOWN]), ("Largest losses", ordered[:_SHOWN])]
    parts = ["<h2>Answers side by side</h2>"]
    for title, picked in chosen:
        parts.append(f"<h3>{title}</h3>")
        parts.extend(
            f"<details><summary>{escape(str(row['prompt']))}</summary><div class='pair'><div>"
            "<b class='ours'>Candidate</b>"
            f"<p>{escape(str(row['candidate']))}</p></div><div><b class='theirs'>Baseline</b>"
            f"<p>{escape(str(row['baseline']))}</p></div></div></details>"
            for row in picked
        )
    return "".join(parts)


def _clamped(value: float | None) -> float:
    return 0.0 if value is None else min(1.0, max(0.0, value))


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f}"
