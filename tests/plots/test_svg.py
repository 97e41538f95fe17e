"""Plots are well-formed SVG that says its numbers, escapes its labels and survives odd input."""

from __future__ import annotations

import math
import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preceptor.plots.svg import Interval, Series, bars, intervals, lines, number

FINITE = st.floats(-1e9, 1e9)


def _texts(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter() if element.tag == "text"]  # noqa: S314


def test_bars_show_each_value_and_label() -> None:
    texts = _texts(bars("Ratings", ["1", "2"], [3, 12]))
    assert {"3", "12", "1", "2"} <= set(texts)


def test_bar_height_is_in_proportion_to_the_value() -> None:
    root = ElementTree.fromstring(bars("Ratings", ["a", "b"], [5, 10]))  # noqa: S314
    heights = [float(rect.attrib["height"]) for rect in root.iter("rect")]
    assert heights[1] == pytest.approx(2 * heights[0], abs=0.1)


def test_an_interval_row_names_point_and_bounds() -> None:
    assert "0.6 (0.52 to 0.68)" in _texts(intervals("Win rate", [Interval("new", 0.6, 0.52, 0.68)], reference=0.5))


def test_labels_are_escaped() -> None:
    svg = bars("<script>", ["<b>"], [1])
    assert "<script>" not in svg
    assert "<b>" not in svg


def test_nothing_measured_is_said_in_words() -> None:
    assert _texts(lines("Reward", [Series("reward", [], [])], x_label="step")) == ["Nothing measured yet"]
    assert _texts(intervals("Win rate", [])) == ["Nothing measured yet"]


@given(st.lists(FINITE | st.just(math.nan), min_size=1, max_size=60))
def test_any_series_gives_well_formed_svg_without_nan(values: list[float]) -> None:
    svg = lines("Any", [Series("any", list(range(len(values))), values)], x_label="step")
    ElementTree.fromstring(svg)  # noqa: S314
    assert "nan" not in svg


@pytest.mark.parametrize(("value", "shown"), [(1200, "1\u2009200"), (0.12345, "0.123"), (3.0, "3"), (math.nan, "–")])
def test_numbers_are_short(value: float, shown: str) -> None:
    assert number(value) == shown
