"""The report of a reward model goes in, one self-contained HTML page for a person comes out: figures, no texts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Any

from preceptor.plots import svg

_PLOT_STYLE = Path(svg.__file__).with_name("plots.css")
_STYLE = """:root { color-scheme: light dark; }
body { margin: 0 auto; padding: 2rem 1.25rem; max-width: 46rem; font: 16px/1.55 system-ui, sans-serif; }
svg { width: 100%; overflow: visible; }"""


def render_page(report: Mapping[str, Any]) -> str:
    """Accuracy beside its baselines, the reliability plot, and every slice with its interval."""
    held = report["held_out"]
    ceiling = (report["rater_agreement"] or {}).get("accuracy_ceiling")
    rules = {"the model": report["accuracy"]} | {n.replace("_", " "): v for n, v in report["baselines"].items()}
    parts = [
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
        "<meta name='viewport' content='width=device-width, initial-scale=1'><title>Reward model</title>",
        f"<style>{_STYLE}\n{_PLOT_STYLE.read_text(encoding='utf-8')}</style></head><body><h1>Reward model</h1>",
        f"<p>{held['pairs']} held-out pairs of {held['prompts']} prompts, {held['ties']} ties beside them. ",
        "Bars are 95 % intervals that resample prompts; n counts prompts. ",
        f"Agreement between raters allows {svg.share(ceiling, percent=True)}." if ceiling is not None else "",
        "</p>",
        "".join(f"<p><strong>{escape(note)}</strong></p>" for note in report["notes"]),
        "<h2>Right on held-out pairs</h2>",
        svg.intervals("Accuracy", [_row(n, v) for n, v in rules.items()], reference=ceiling or 0.5, percent=True),
        "<h2>Is it as sure as it is right?</h2>",
        _reliability(report["calibration"]),
        *_slices(report["slices"]),
        "</body></html>",
    ]
    return "\n".join(parts)


def _row(name: str, interval: Mapping[str, Any]) -> svg.Interval:
    low, high = (float("nan") if interval[side] is None else interval[side] for side in ("low", "high"))
    label = f"{name} (n {interval['n']})" if "n" in interval else name
    return svg.Interval(label, interval["estimate"], low, high)


def _reliability(calibration: Mapping[str, Any]) -> str:
    sure = [found["confidence"] for found in calibration["bins"]]
    model = svg.Series("measured", sure, [found["accuracy"] for found in calibration["bins"]])
    even = svg.Series("as sure as right", [0.5, 1.0], [0.5, 1.0], second=True)
    plot = svg.lines("Reliability", [model, even], x_label="confidence, after temperature", y_label="accuracy")
    error, heat = svg.number(calibration["ece"]), svg.number(calibration["temperature"])
    return f"{plot}<p>Expected calibration error {error} at temperature {heat}.</p>"


def _slices(slices: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for group, found in slices.items():
        if found:
            rows = [_row(name, interval) for name, interval in found.items()]
            yield f"<h2>By {escape(group)}</h2>{svg.intervals(f'Accuracy by {group}', rows, percent=True)}"
