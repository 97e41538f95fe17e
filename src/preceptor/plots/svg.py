"""Numbers in, HTML with inline SVG out: bars, lines and intervals, of any width at one text size, readable aloud."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_TOP, _BOTTOM = 20, 24  # room above the plot for values and the unit, below it for labels; pixels
_NAME = 15  # height of a line's name, pixels
_CROWDED = 12  # more bars than this carry no value of their own, and a label a week


@dataclass(frozen=True)
class Interval:
    """One row of an interval plot: a point with its lower and upper bound; no bounds when they are NaN."""

    label: str
    point: float
    low: float = math.nan
    high: float = math.nan
    second: bool = False


@dataclass(frozen=True)
class Series:
    """One line of a line plot; `y` may hold NaN where nothing was measured."""

    label: str
    x: Sequence[float]
    y: Sequence[float]
    second: bool = False


@dataclass(frozen=True)
class Point:
    """One point of a frontier plot, with the bounds of its height; no bounds when they are NaN."""

    label: str
    x: float
    y: float
    low: float = math.nan
    high: float = math.nan


def number(value: float) -> str:
    """A number as short as it can be read: 3 significant digits, thousands with a thin space."""
    if not math.isfinite(value):
        return "–"
    if value == int(value) and abs(value) < 1e6:
        return f"{int(value):,}".replace(",", "\u2009").replace("-", "\u2212")
    return f"{value:.3g}".replace("-", "\u2212")


def share(value: float, *, percent: bool) -> str:
    """A share as `75 %` or `0.75`; a dash when it is not known."""
    if not math.isfinite(value):
        return "–"
    return f"{_rounded(100 * value, 0)}\u2009%" if percent else _rounded(value, 2)


def _rounded(value: float, digits: int) -> str:
    """Fixed digits, without the sign of a zero."""
    return f"{round(value, digits) + 0.0:.{digits}f}"


def estimate(row: Interval, *, percent: bool = False) -> str:
    """A point with its bounds in words, such as `75 % (64 to 86 %)`."""
    point = share(row.point, percent=percent)
    if not (math.isfinite(row.low) and math.isfinite(row.high)):
        return point
    low = _rounded(100 * row.low, 0) if percent else share(row.low, percent=False)
    return f"{point} ({low} to {share(row.high, percent=percent)})"


def _ticks(low: float, high: float, count: int = 4) -> list[float]:
    span = (high - low) or abs(high) or 1.0
    raw = span / count
    magnitude = 10 ** math.floor(math.log10(raw))
    step = min((m * magnitude for m in (1, 2, 2.5, 5, 10)), key=lambda s: abs(s - raw))
    first = math.ceil(low / step - 1e-9) * step
    return [round(first + i * step, 12) + 0.0 for i in range(int((high - first) / step + 1e-9) + 1)]


def _open(title: str, height: float) -> str:
    """Without a viewBox: lengths across are percentages, so that text keeps its size on a phone."""
    return f'<svg class="plot" role="img" height="{height:g}" aria-label="{escape(title, quote=True)}">'


def bars(title: str, labels: Sequence[str], values: Sequence[float], *, height: int = 200, x_label: str = "") -> str:
    """Vertical bars from zero, each with its value above and its label below; many bars are labelled weekly."""
    if not any(values):
        return empty(title)
    top, floor = max([*values, 0.0]), height - _BOTTOM - (16 if x_label else 0)
    inner, slot, crowded = floor - _TOP, 100 / len(values), len(values) > _CROWDED
    parts = [_open(title, height)]
    for tick in _ticks(0, top, 3):
        parts.append(_rung(floor - tick / top * inner, number(tick)))
    for index, (label, value) in enumerate(zip(labels, values, strict=True)):
        tall, middle = value / top * inner, (index + 0.5) * slot
        parts.append(
            f'<rect class="bar" x="{index * slot + slot * 0.14:.2f}%" y="{floor - tall:.1f}" '
            f'width="{slot * 0.72:.2f}%" height="{tall:.1f}" rx="2">'
            f"<title>{escape(label)}: {number(value)}</title></rect>"
        )
        if not crowded or (value and value == top):
            parts.append(_text(f"{middle:.2f}%", floor - tall - 5, number(value), "middle", "value"))
        if not crowded or (len(values) - 1 - index) % 7 == 0:
            parts.append(_text(f"{middle:.2f}%", floor + 17, label, "middle"))
    parts.append(f'<line class="axis" x1="0" x2="100%" y1="{floor}" y2="{floor}"/>')
    if x_label:
        parts.append(_text("50%", height - 5, x_label, "middle"))
    return "".join([*parts, "</svg>"])


def lines(
    title: str,
    series: Sequence[Series],
    *,
    x_label: str,
    y_label: str = "",
    height: int = 220,
    reference: float | None = None,
) -> str:
    """Lines over one horizontal axis, with an optional dashed reference value and a name each when there are two."""
    xs = [x for one in series for x in one.x]
    ys = [y for one in series for y in one.y if math.isfinite(y)] + ([] if reference is None else [reference])
    if not xs or not ys:
        return empty(title)
    x0, x1, y0, y1 = min(xs), max(xs), min(ys), max(ys)
    pad = (y1 - y0) * 0.08 or abs(y1) * 0.1 or 1.0
    y0, y1 = y0 - pad, y1 + pad
    floor = height - _BOTTOM - 16

    def at(x: float, y: float) -> tuple[float, float]:
        return 100 * (x - x0) / ((x1 - x0) or 1.0), floor - (y - y0) / (y1 - y0) * (floor - _TOP)

    parts = [_open(title, height)]
    parts += [_rung(at(x0, tick)[1], number(tick)) for tick in _ticks(y0, y1)]
    whole = [tick for tick in _ticks(x0, x1, 5) if tick == int(tick) or x1 - x0 < 2]
    parts += [_text(f"{at(tick, y0)[0]:.2f}%", floor + 17, number(tick), "middle") for tick in whole]
    if reference is not None:
        y = at(x0, reference)[1]
        parts.append(f'<line class="reference" x1="0" x2="100%" y1="{y:.1f}" y2="{y:.1f}"/>')
    named: list[float] = []
    for one in series:
        style = " second" if one.second else ""
        points = [at(x, y) for x, y in zip(one.x, one.y, strict=True) if math.isfinite(y)]
        path = " ".join(f"{x:.2f},{y:.1f}" for x, y in points)
        parts.append(
            f'<svg viewBox="0 0 100 {height}" width="100%" height="{height}" preserveAspectRatio="none">'
            f'<polyline class="line{style}" points="{path}"/></svg>'
        )
        if len(points) <= 40:
            parts.extend(f'<circle class="dot{style}" cx="{x:.2f}%" cy="{y:.1f}" r="2.5"/>' for x, y in points)
        if points and len(series) > 1:
            y = points[-1][1] - 8
            named.append(y if all(abs(y - other) >= _NAME for other in named) else y + 26)  # below where one is above
            parts.append(_text("100%", named[-1], one.label, "end", "value"))
    parts.append(f'<line class="axis" x1="0" x2="100%" y1="{floor}" y2="{floor}"/>')
    parts.append(_text("50%", height - 5, x_label, "middle"))
    if y_label:
        parts.append(f'<text x="-42" y="11">{escape(y_label)}</text>')
    return "".join([*parts, "</svg>"])


def frontier(
    title: str, curves: Sequence[Series], points: Sequence[Point], *, x_label: str, y_label: str, height: int = 260
) -> str:
    """What is gained over how far it lies: curves and points over a square-root axis from 0, with a legend.

    The square root keeps what is near (tenths) and what is far (hundreds) apart on one axis.
    """
    xs = [x for one in curves for x in one.x] + [point.x for point in points]
    ys = [y for one in curves for y in one.y] + [y for p in points for y in (p.low, p.y, p.high)]
    ys = [y for y in ys if math.isfinite(y)]
    if not xs or not ys or not all(math.isfinite(x) and x >= 0 for x in xs):
        return empty(title)
    far, y0, y1 = math.sqrt(max(xs)) or 1.0, min(ys), max(ys)
    pad = (y1 - y0) * 0.1 or abs(y1) * 0.1 or 1.0
    y0, y1, floor = y0 - pad, y1 + pad, height - _BOTTOM - 16

    def at(x: float, y: float) -> tuple[float, float]:
        return 96 * math.sqrt(x) / far, floor - (y - y0) / (y1 - y0) * (floor - _TOP)

    parts = [_open(title, height), *(_rung(at(0, tick)[1], number(tick)) for tick in _ticks(y0, y1))]
    last = -math.inf
    for tick in (0, *(m * 10.0**e for e in range(-2, 4) for m in (1, 3))):
        x = at(tick, y0)[0]
        if x <= 100 and x - last >= 9:
            parts.append(_text(f"{x:.2f}%", floor + 17, number(tick), "middle"))
            last = x
    words = []
    for one in curves:
        style, drawn = (" second", "second") if one.second else ("", "first")
        path = [at(x, y) for x, y in zip(one.x, one.y, strict=True) if math.isfinite(y)]
        parts.append(
            f'<svg viewBox="0 0 100 {height}" width="100%" height="{height}" preserveAspectRatio="none">'
            f'<polyline class="line{style}" points="{" ".join(f"{x:.2f},{y:.1f}" for x, y in path)}"/></svg>'
        )
        parts.extend(f'<circle class="dot{style}" cx="{x:.2f}%" cy="{y:.1f}" r="3"/>' for x, y in path)
        words.append((drawn, one.label))
    for point in points:
        x, y = at(point.x, point.y)
        if math.isfinite(point.low) and math.isfinite(point.high):
            ends = f'y1="{at(point.x, point.low)[1]:.1f}" y2="{at(point.x, point.high)[1]:.1f}"'
            parts.append(f'<line class="whisker" x1="{x:.2f}%" x2="{x:.2f}%" {ends}/>')
        parts.append(f'<circle class="dot" cx="{x:.2f}%" cy="{y:.1f}" r="6"/>')
        parts.append(_text(f"{x:.2f}%", y - 12, point.label, "end" if x > 50 else "start", "value"))
    parts.append(f'<line class="axis" x1="0" x2="100%" y1="{floor}" y2="{floor}"/>')
    parts.append(_text("50%", height - 5, x_label, "middle"))
    parts.append(f'<text x="-42" y="11">{escape(y_label)}</text></svg>')
    keys = "".join(
        f'<li><span class="key {style}" aria-hidden="true"></span>{escape(label)}</li>' for style, label in words
    )
    return "".join(parts) + (f'<ul class="legend">{keys}</ul>' if keys else "")


def intervals(title: str, rows: Sequence[Interval], *, reference: float | None = None, percent: bool = False) -> str:
    """A list of shares, each with its point and whiskers on one axis from 0 to 1 against a dashed reference value."""
    if not rows:
        return empty(title)
    marks = [v for row in rows for v in (row.low, row.point, row.high) if math.isfinite(v)]
    low, high = min([0.0, *marks]), max([1.0, *marks])

    def at(value: float) -> str:
        return f"{100 * (value - low) / (high - low):.2f}%"

    parts = [f'<ul class="intervals" aria-label="{escape(title, quote=True)}">']
    ticks = [(at(tick), share(tick, percent=percent)) for tick in _ticks(low, high)]
    grid = "".join(f'<line class="grid" x1="{x}" x2="{x}" y1="0" y2="100%"/>' for x, _ in ticks)
    if reference is not None:
        grid += f'<line class="reference" x1="{at(reference)}" x2="{at(reference)}" y1="0" y2="100%"/>'
    for row in rows:
        style, shapes = " second" if row.second else "", grid
        if math.isfinite(row.low) and math.isfinite(row.high):
            ends = f'x1="{at(row.low)}" x2="{at(row.high)}" y1="50%" y2="50%"'
            shapes += f'<line class="whisker{style}" {ends}/>'
        if math.isfinite(row.point):
            shapes += f'<circle class="dot{style}" cx="{at(row.point)}" cy="50%" r="5"/>'
        parts.append(
            f'<li><span class="label">{escape(row.label)}</span> '
            f'<span class="value">{estimate(row, percent=percent)}</span>'
            f'<svg class="plot strip" aria-hidden="true" height="28">{shapes}</svg></li>'
        )
    axis = "".join(_text(x, 14, words, "middle") for x, words in ticks)
    parts.append(
        f'<li class="scale" aria-hidden="true"><svg class="plot strip" aria-hidden="true" height="18">{axis}</svg></li>'
    )
    return "".join([*parts, "</ul>"])


def proportions(title: str, parts: Sequence[tuple[str, float, str]]) -> str:
    """One bar split by count: (name, count, style `first`, `second` or `rest`), with a legend that says each count."""
    total = sum(count for _, count, _ in parts)
    if not total:
        return empty(title)
    x, shapes, words = 0.0, "", []
    for name, count, style in parts:
        width = 100 * count / total
        shapes += f'<rect class="part {style}" x="{x:.2f}%" width="{width:.2f}%" y="0" height="100%"/>'
        words.append(f'<li><span class="key {style}" aria-hidden="true"></span>{number(count)} {escape(name)}</li>')
        x += width
    return (
        f'<svg class="plot strip split" aria-hidden="true" height="20">{shapes}</svg>'
        f'<ul class="legend" aria-label="{escape(title, quote=True)}">{"".join(words)}</ul>'
    )


def empty(title: str) -> str:
    """The plot's place while there is nothing to show."""
    return f'<p class="unmeasured"><span class="unseen">{escape(title)}: </span>Nothing measured yet</p>'


def _rung(y: float, words: str) -> str:
    line = f'<line class="grid" x1="0" x2="100%" y1="{y:.1f}" y2="{y:.1f}"/>'
    return line + _text("-8", y + 4, words, "end")


def _text(x: str, y: float, words: str, anchor: str, style: str = "") -> str:
    named = f' class="{style}"' if style else ""
    return f'<text{named} x="{x}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'
