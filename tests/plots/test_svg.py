"""Plots are well-formed, say their numbers in text, escape their labels and survive odd input."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preceptor.plots.svg import (
    Interval,
    Point,
    Series,
    bars,
    estimate,
    frontier,
    intervals,
    lines,
    number,
    proportions,
    share,
)

FINITE = st.floats(-1e9, 1e9)


def _texts(plot: str) -> list[str]:
    elements = ElementTree.fromstring(plot).iter()  # noqa: S314
    return [text for element in elements for text in (element.text, element.tail) if text and text.strip()]


def test_bars_show_each_value_and_label() -> None:
    texts = _texts(bars("Ratings", ["1", "2"], [3, 12]))
    assert {"3", "12", "1", "2"} <= set(texts)


def test_bar_height_is_in_proportion_to_the_value() -> None:
    root = ElementTree.fromstring(bars("Ratings", ["a", "b"], [5, 10]))  # noqa: S314
    heights = [float(rect.attrib["height"]) for rect in root.iter("rect")]
    assert heights[1] == pytest.approx(2 * heights[0], abs=0.1)


def test_an_interval_row_names_point_and_bounds() -> None:
    rows = [Interval("new", 0.6, 0.52, 0.684)]
    assert "0.60 (0.52 to 0.68)" in _texts(intervals("Win rate", rows, reference=0.5))
    assert "60\u2009% (52 to 68\u2009%)" in _texts(intervals("Win rate", rows, reference=0.5, percent=True))


def test_a_point_without_bounds_claims_none() -> None:
    plot = intervals("Accuracy", [Interval("length alone", 0.53)])
    assert "0.53" in _texts(plot)
    assert "whisker" not in plot
    assert estimate(Interval("x", 0.5, 0.4, math.inf)) == "0.50"


def test_shares_are_drawn_on_the_whole_scale_so_that_small_gains_look_small() -> None:
    root = ElementTree.fromstring(intervals("Win rate", [Interval("new", 0.6, 0.55, 0.65)]))  # noqa: S314
    assert [dot.attrib["cx"] for dot in root.iter("circle")] == ["60.00%"]


def test_parts_of_a_whole_fill_it_and_say_their_counts() -> None:
    plot = proportions("Outcomes", [("better", 3, "first"), ("worse", 1, "second")])
    root = ElementTree.fromstring(f"<div>{plot}</div>")  # noqa: S314
    assert [rect.attrib["width"] for rect in root.iter("rect")] == ["75.00%", "25.00%"]
    assert {"3 better", "1 worse"} <= set(_texts(f"<div>{plot}</div>"))


def test_labels_are_escaped() -> None:
    svg = bars("<script>", ["<b>"], [1])
    assert "<script>" not in svg
    assert "<b>" not in svg


def test_nothing_measured_is_said_in_words() -> None:
    for plot in (
        lines("Reward", [Series("reward", [], [])], x_label="step"),
        intervals("Win rate", []),
        bars("Ratings", ["1", "2"], [0, 0]),
        proportions("Outcomes", [("better", 0, "first")]),
    ):
        assert _texts(plot)[-1] == "Nothing measured yet"


@given(st.lists(FINITE | st.just(math.nan), min_size=1, max_size=60))
def test_any_series_gives_well_formed_svg_without_nan(values: list[float]) -> None:
    svg = lines("Any", [Series("any", list(range(len(values))), values)], x_label="step")
    ElementTree.fromstring(svg)  # noqa: S314
    assert "nan" not in svg


@pytest.mark.parametrize(
    ("value", "shown"), [(1200, "1\u2009200"), (0.12345, "0.123"), (3.0, "3"), (-6.0, "\u22126"), (math.nan, "–")]
)
def test_numbers_are_short(value: float, shown: str) -> None:
    assert number(value) == shown


@pytest.mark.parametrize("value", [-0.0, -0.004, -1e-17])
def test_a_share_that_rounds_to_nothing_has_no_sign(value: float) -> None:
    assert share(value, percent=True) == "0\u2009%"
    assert share(value, percent=False) == "0.00"
    assert estimate(Interval("", 0.0, value, 0.04), percent=True) == "0\u2009% (0 to 4\u2009%)"


@pytest.mark.parametrize("last", [1.0, 0.97, 0.5, 0.0])
def test_the_names_of_two_lines_do_not_lie_on_each_other(last: float) -> None:
    plot = lines("t", [Series("one", [0, 1], [0.0, 1.0]), Series("two", [0, 1], [0.0, last], second=True)], x_label="x")
    drawn = {e.text: float(e.attrib["y"]) for e in ElementTree.fromstring(plot).iter() if e.text in {"one", "two"}}  # noqa: S314
    assert abs(drawn["one"] - drawn["two"]) >= 13  # the height of their letters


def test_a_frontier_lies_on_a_square_root_axis_from_zero_with_names_and_whiskers() -> None:
    curve = Series("best <of n>", [0.0, 1.0], [0.0, 1.0], second=True)
    plot = frontier("F", [curve], [Point("Candidate", 4.0, 2.0, 1.5, 2.5)], x_label="KL", y_label="Score")
    root = ElementTree.fromstring(f"<div>{plot}</div>")  # noqa: S314
    assert [dot.attrib["cx"] for dot in root.iter("circle")] == ["0.00%", "48.00%", "96.00%"]
    heights = [float(dot.attrib["cy"]) for dot in root.iter("circle")]
    assert heights[0] - heights[1] == pytest.approx(heights[1] - heights[2], abs=0.2)
    whisker = next(line for line in root.iter("line") if line.attrib["class"] == "whisker")
    assert float(whisker.attrib["y1"]) > heights[2] > float(whisker.attrib["y2"])
    assert {"Candidate", "best <of n>", "KL", "Score", "0", "1", "3"} <= set(_texts(f"<div>{plot}</div>"))


@pytest.mark.parametrize("x", [-1.0, math.nan, math.inf])
def test_a_frontier_without_distances_is_empty(x: float) -> None:
    assert "Nothing measured" in frontier("F", [], [Point("c", x, 1.0)], x_label="x", y_label="y")
    assert "Nothing measured" in frontier("F", [], [], x_label="x", y_label="y")


@given(st.lists(st.tuples(st.floats(0, 1e4), st.floats(-1e6, 1e6)), min_size=1, max_size=8))
def test_any_frontier_is_well_formed(points: list[tuple[float, float]]) -> None:
    curve = Series("c", [x for x, _ in points], [y for _, y in points])
    ElementTree.fromstring(  # noqa: S314
        f"<div>{frontier('F', [curve], [Point('p', *points[0])], x_label='x', y_label='y')}</div>"
    )
