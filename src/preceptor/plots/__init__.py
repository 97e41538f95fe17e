"""Plots as inline SVG, and the look that pages and reports share: accessible, printable, no script, light and dark."""

from __future__ import annotations

from pathlib import Path

_HERE = Path(__file__).parent
STYLESHEETS = (_HERE / "look.css", _HERE / "plots.css")
