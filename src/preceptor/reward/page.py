"""The report of a reward model goes in, one self-contained HTML page for a person comes out: figures, no texts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from markupsafe import Markup

from preceptor.plots import svg
from preceptor.plots.report import render_report


def render_page(report: Mapping[str, Any]) -> str:
    """Accuracy beside its baselines, the reliability plot, and every slice with its interval."""
    ceiling = (report["rater_agreement"] or {}).get("accuracy_ceiling")
    rules = {"the model": report["accuracy"]} | {n.replace("_", " "): v for n, v in report["baselines"].items()}
    rows = [_row(name, interval) for name, interval in rules.items()]
    return render_report(
        "preceptor.reward",
        "report.html",
        held_out=report["held_out"],
        notes=report["notes"],
        ceiling=ceiling,
        accuracy=Markup(svg.intervals("Accuracy", rows, reference=ceiling or 0.5, percent=True)),  # noqa: S704
        reliability=Markup(_reliability(report["calibration"])),  # noqa: S704 - as the others, from numbers and escaped
        calibration=report["calibration"],
        slices=[(group, Markup(plot)) for group, plot in _slices(report["slices"])],  # noqa: S704
    )


def _row(name: str, interval: Mapping[str, Any]) -> svg.Interval:
    low, high = (float("nan") if interval[side] is None else interval[side] for side in ("low", "high"))
    label = f"{name} (n {interval['n']})" if "n" in interval else name
    return svg.Interval(label, interval["estimate"], low, high)


def _reliability(calibration: Mapping[str, Any]) -> str:
    sure = [found["confidence"] for found in calibration["bins"]]
    model = svg.Series("measured", sure, [found["accuracy"] for found in calibration["bins"]])
    even = svg.Series("as sure as right", [0.5, 1.0], [0.5, 1.0], second=True)
    return svg.lines("Reliability", [model, even], x_label="confidence, after temperature", y_label="accuracy")


def _slices(slices: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    for group, found in slices.items():
        if found:
            rows = [_row(name, interval) for name, interval in found.items()]
            yield group, svg.intervals(f"Accuracy by {group}", rows, percent=True)
