"""Numbers in, SVG text out: bars, lines and intervals, each with a title that a screen reader speaks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, LEFT, RIGHT, TOP, BOTTOM = 480, 46, 14, 16, 32
WIDE = 1040  # for plots that take a whole row


@dataclass(frozen=True)
class Interval:
    """One row of an interval plot: a point with its lower and upper bound, in the plot's units."""

    label: str
    point: float
    low: float
    high: float
    second: bool = False


@dataclass(frozen=True)
class Series:
    """One line of a line plot; `y` may hold NaN where nothing was measured."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    second: bool = False


def number(value: float) -> str:
    """A number as short as it can be read: 3 significant digits, thousands with a thin space."""
    if not math.isfinite(value):
        return "–"
    if value == int(value) and abs(value) < 1e6:
        return f"{int(value):,}".replace(",", "\u2009")
    return f"{value:.3g}"


def _ticks(low: float, high: float, count: int = 4) -> list[float]:
    span = (high - low) or abs(high) or 1.0
    raw = span / count
    magnitude = 10 ** math.floor(math.log10(raw))
    step = min((m * magnitude for m in (1, 2, 2.5, 5, 10)), key=lambda s: abs(s - raw))
    first = math.ceil(low / step - 1e-9) * step
    return [round(first + i * step, 12) for i in range(int((high - first) / step + 1e-9) + 1)]


def _open(title: str, width: float, height: float) -> str:
    return (
        f'<svg class="plot" role="img" viewBox="0 0 {width:g} {height:g}" '
        f'aria-label="{escape(title, quote=True)}"><title>{escape(title)}</title>'
    )


def bars(title: str, labels: Sequence[str], values: Sequence[float], *, height: int = 180, width: int = WIDTH) -> str:
    """Vertical bars from zero, each with its value above and its label below; labels thin out when they are many."""
    top = max([*values, 0.0]) or 1.0
    inner, floor = height - TOP - BOTTOM, height - BOTTOM
    slot = (width - LEFT - RIGHT) / max(len(values), 1)
    every = max(1, math.ceil(len(values) / (width // 80)))
    parts = [_open(title, width, height)]
    for tick in _ticks(0, top, 3):
        y = floor - tick / top * inner
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{width - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{number(tick)}</text>')
    for index, (label, value) in enumerate(zip(labels, values, strict=True)):
        tall = value / top * inner
        x, thick = LEFT + index * slot + slot * 0.14, slot * 0.72
        parts.append(
            f'<rect class="bar" x="{x:.1f}" y="{floor - tall:.1f}" width="{thick:.1f}" height="{tall:.1f}" rx="2">'
            f"<title>{escape(label)}: {number(value)}</title></rect>"
        )
        middle = x + thick / 2
        if len(values) <= 12:
            parts.append(
                f'<text class="value" x="{middle:.1f}" y="{floor - tall - 4:.1f}" text-anchor="middle">'
                f"{number(value)}</text>"
            )
        if index % every == 0:
            parts.append(f'<text x="{middle:.1f}" y="{height - 12}" text-anchor="middle">{escape(label)}</text>')
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{width - RIGHT}" y1="{floor}" y2="{floor}"/></svg>')
    return "".join(parts)


def lines(
    title: str, series: Sequence[Series], *, x_label: str, height: int = 200, reference: float | None = None
) -> str:
    """Lines over one horizontal axis, with an optional dashed reference value and a legend when there are two."""
    xs = [x for one in series for x in one.x]
    ys = [y for one in series for y in one.y if math.isfinite(y)] + ([] if reference is None else [reference])
    if not xs or not ys:
        return empty(title, height=height)
    x0, x1, y0, y1 = min(xs), max(xs), min(ys), max(ys)
    pad = (y1 - y0) * 0.08 or abs(y1) * 0.1 or 1.0
    y0, y1 = y0 - pad, y1 + pad
    floor = height - BOTTOM

    def at(x: float, y: float) -> tuple[float, float]:
        along = (x - x0) / ((x1 - x0) or 1.0)
        return LEFT + along * (WIDTH - LEFT - RIGHT), floor - (y - y0) / (y1 - y0) * (floor - TOP)

    parts = [_open(title, WIDTH, height)]
    for tick in _ticks(y0, y1):
        y = at(x0, tick)[1]
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{number(tick)}</text>')
    for tick in _ticks(x0, x1, 6):
        x = at(tick, y0)[0]
        parts.append(f'<text x="{x:.1f}" y="{floor + 16}" text-anchor="middle">{number(tick)}</text>')
    if reference is not None:
        y = at(x0, reference)[1]
        parts.append(f'<line class="reference" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
    for one in series:
        style = " second" if one.second else ""
        points = [at(x, y) for x, y in zip(one.x, one.y, strict=True) if math.isfinite(y)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline class="line{style}" points="{path}"/>')
        if len(points) <= 40:
            parts.extend(f'<circle class="dot{style}" cx="{x:.1f}" cy="{y:.1f}" r="2.5"/>' for x, y in points)
        if points and len(series) > 1:
            x, y = points[-1]
            parts.append(
                f'<text class="value" x="{x:.1f}" y="{y - 7:.1f}" text-anchor="end">{escape(one.label)}</text>'
            )
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{floor}" y2="{floor}"/>')
    parts.append(f'<text x="{WIDTH - RIGHT}" y="{height - 2}" text-anchor="end">{escape(x_label)}</text></svg>')
    return "".join(parts)


def intervals(title: str, rows: Sequence[Interval], *, reference: float | None = None, width: int = WIDTH) -> str:
    """Horizontal points with whiskers, one row each, against a dashed reference value."""
    if not rows:
        return empty(title, width=width)
    label_width, value_width, row_height = 188, 130, 30
    marks = [v for row in rows for v in (row.low, row.high)] + ([] if reference is None else [reference])
    low, high = min(marks), max(marks)
    pad = (high - low) * 0.06 or 0.1
    low, high = low - pad, high + pad
    height = TOP + row_height * len(rows) + BOTTOM

    def at(value: float) -> float:
        return label_width + (value - low) / (high - low) * (width - label_width - value_width)

    bottom = TOP + row_height * len(rows)
    parts = [_open(title, width, height)]
    for tick in _ticks(low, high):
        x = at(tick)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{bottom}"/>')
        parts.append(f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{number(tick)}</text>')
    if reference is not None:
        x = at(reference)
        parts.append(f'<line class="reference" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{bottom}"/>')
    for index, row in enumerate(rows):
        y = TOP + row_height * (index + 0.5)
        style = " second" if row.second else ""
        shown = f"{number(row.point)} ({number(row.low)} to {number(row.high)})"
        parts.append(f'<text class="value" x="0" y="{y + 4:.1f}">{escape(row.label)}</text>')
        parts.append(
            f'<line class="whisker{style}" x1="{at(row.low):.1f}" x2="{at(row.high):.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
        )
        parts.append(f'<circle class="dot{style}" cx="{at(row.point):.1f}" cy="{y:.1f}" r="5"/>')
        parts.append(f'<text class="value" x="{width}" y="{y + 4:.1f}" text-anchor="end">{shown}</text>')
    parts.append("</svg>")
    return "".join(parts)


def empty(title: str, *, height: int = 120, width: int = WIDTH) -> str:
    """The plot's place while there is nothing to show."""
    return (
        f"{_open(title, width, height)}"
        f'<text x="{width / 2}" y="{height / 2}" text-anchor="middle">Nothing measured yet</text></svg>'
    )
