"""A template's name and values in, one self-contained HTML report out: no script, nothing loaded, light and dark."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from preceptor.plots import STYLESHEETS, svg


def render_report(package: str, name: str, **values: Any) -> str:
    """Fill `package`'s template `name`, which extends `report_base.html`; every text is escaped."""
    pages = Environment(
        loader=ChoiceLoader([PackageLoader(package, "templates"), PackageLoader("preceptor.plots", "templates")]),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters.update(number=svg.number, percent=_percent)
    return pages.get_template(name).render(style=Markup(_style()), **values)  # noqa: S704 - our own stylesheets


def content_security_policy() -> str:
    """The header under which a server may show such a report: its own style and nothing else."""
    digest = base64.b64encode(hashlib.sha256(_style().encode()).digest()).decode()
    nothing = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    return f"{nothing}; style-src 'sha256-{digest}'"


@cache
def _style() -> str:
    return "\n" + "".join(path.read_text(encoding="utf-8") for path in STYLESHEETS)


def _percent(value: float | None) -> str:
    return "–" if value is None else svg.share(float(value), percent=True)
