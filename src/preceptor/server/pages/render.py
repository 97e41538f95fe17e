"""A request and values in, a page out; failures become a page for browsers and a problem document for programs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from fastapi import Depends
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined, select_autoescape
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from preceptor.plots import svg
from preceptor.server import errors
from preceptor.server.auth import AccessRule, Principal, current_principal_or_none
from preceptor.server.errors import Problem

_templates = Environment(
    loader=ChoiceLoader([PackageLoader(f"preceptor.{place}", "templates") for place in ("server", "plots")]),
    autoescape=select_autoescape(default=True),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.filters["number"] = svg.number
# which places the bar at the top offers to whom
NAVIGATION: tuple[tuple[str, str, frozenset[str]], ...] = (
    ("/rate", "Rate", frozenset({"clinician", "curator", "admin"})),
    ("/compare", "Compare", frozenset({"clinician", "curator", "admin"})),
    ("/me", "My ratings", frozenset({"clinician", "curator", "admin"})),
    ("/dashboard", "Dashboard", frozenset({"curator", "phi_reviewer", "ml_engineer", "auditor", "admin"})),
    ("/runs", "Rounds", frozenset({"curator", "ml_engineer", "auditor", "admin"})),
)

# how a page says what went wrong: the heading, and what to do next
_WORDS: dict[str, tuple[str, str]] = {
    "not-found": ("There is nothing here", "The address is wrong, or what it names is not yours to see."),
    "not-allowed": ("This account may not do that", "Ask whoever runs this server if you need it."),
    "csrf": ("This page is too old to be sent", "Nothing was saved. Go back, reload the page and do it once more."),
    "cross-site": ("This came from another site", "Nothing was saved. Open this server's own page and do it there."),
    "invalid": ("The form could not be used", "Nothing was saved. Go back, look at what you filled in, send again."),
    "too-large": ("That was too much text", "Nothing was saved. Go back, shorten what you typed, and send again."),
    "unavailable": (
        "The service cannot answer right now",
        "What you did last may not be saved. Wait a moment, then open the page again.",
    ),
    "internal": (
        "Something failed on the server",
        "What you did last may not be saved. If it happens again, tell whoever runs this server when you saw it; its "
        "log says more.",
    ),
}
_SAID = frozenset({"not-found", "cross-site", "csrf"})  # the words above say it all


def places(role: str) -> list[tuple[str, str]]:
    """The addresses and names that a role may visit."""
    return [(href, name) for href, name, roles in NAVIGATION if role in roles]


def page(name: str, request: Request, principal: Principal | None, *, status: int = 200, **values: Any) -> HTMLResponse:
    """Render a template for this person."""
    html = _templates.get_template(name).render(
        user=principal,
        navigation=places(principal.role) if principal else [],
        path=request.url.path,
        csrf_token=principal.csrf_token if principal else "",
        **values,
    )
    return HTMLResponse(html, status_code=status)


def see_other(address: str) -> RedirectResponse:
    """Send the browser on after a form, so that reloading does not send it again."""
    return RedirectResponse(address, status_code=303)


async def respond(request: Request, error: Exception) -> Response:
    """A failure as the caller can use it: a page where a browser asked for one."""
    problem = errors.to_problem(error)
    if not _wants_page(request):
        return errors.render(problem)
    if problem.slug == "sign-in-required":
        return RedirectResponse(f"/login?next={quote(request.url.path)}", status_code=303)
    status, title = errors.PROBLEMS[problem.slug]
    heading, advice = _WORDS.get(problem.slug, (title, "Go back and try again, or ask whoever runs this server."))
    detail = f"{problem.detail} {advice}" if problem.detail and problem.slug not in _SAID else advice
    principal = getattr(request.state, "principal", None)
    return page("message.html", request, principal, status=status, heading=heading, detail=detail)


def _wants_page(request: Request) -> bool:
    path = request.url.path
    return "text/html" in request.headers.get("accept", "") and not path.startswith(("/api/", "/v1/", "/metrics"))


class PageRule(AccessRule):
    """Which roles may see a page; a visitor is sent to sign in."""

    async def __call__(self, principal: Principal | None = Depends(current_principal_or_none)) -> Principal:
        if principal is None:
            raise Problem("sign-in-required")
        if self.roles is not None and principal.role not in self.roles:
            raise Problem("not-allowed", f"The role '{principal.role}' may not see this page.")
        return principal


def visitors(href: str) -> Any:
    """The page's rule: the roles that the navigation offers `href` to."""
    return Depends(PageRule(next(roles for place, _, roles in NAVIGATION if place == href)))


def when(moment: datetime | None) -> str:
    """A time as people read it: UTC, to the minute."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M}" if moment else ""


def duration(start: datetime | None, end: datetime | None) -> str:
    """Seconds under two minutes, minutes under two hours, hours beyond."""
    if start is None:
        return ""
    seconds = ((end or datetime.now(UTC)) - start).total_seconds()
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
