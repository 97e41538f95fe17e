"""Plots as inline SVG: accessible, printable, no script. `plots.css` colors them for light and dark."""

from __future__ import annotations

from pathlib import Path

STYLESHEET = Path(__file__).parent / "plots.css"
