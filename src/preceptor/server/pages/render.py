"""A request and values in, a page out; failures become a page for browsers and a problem document for programs."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from fastapi import Depends
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from preceptor.server import errors
from preceptor.server.auth import AccessRule, Principal, current_principal_or_none
from preceptor.server.errors import Problem

_templates = Environment(
    loader=PackageLoader("preceptor.server", "templates"),
    autoescape=select_autoescape(default=True),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
# which places the bar at the top offers to whom
NAVIGATION: tuple[tuple[str, str, frozenset[str]], ...] = (
    ("/rate", "Rate", frozenset({"clinician", "curator", "admin"})),
    ("/compare", "Compare", frozenset({"clinician", "curator", "admin"})),
    ("/me", "My ratings", frozenset({"clinician", "curator", "admin"})),
    ("/dashboard", "Dashboard", frozenset({"curator", "phi_reviewer", "ml_engineer", "auditor", "admin"})),
    ("/runs", "Rounds", frozenset({"curator", "ml_engineer", "auditor", "admin"})),
)


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
    detail = problem.detail or "Nothing was changed. Go back and try again, or ask whoever runs this server."
    principal = getattr(request.state, "principal", None)
    return page("message.html", request, principal, status=status, heading=title, detail=detail, action=None,
                action_href=None)  # fmt: skip


def _wants_page(request: Request) -> bool:
    path = request.url.path
    return "text/html" in request.headers.get("accept", "") and not path.startswith(("/api/", "/v1/", "/metrics"))


class PageRule(AccessRule):
    """Which roles may see a page; a visitor is sent to sign in."""

    def __call__(self, principal: Principal | None = Depends(current_principal_or_none)) -> Principal:
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
