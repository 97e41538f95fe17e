"""An ASGI application in, the same one out with security headers, cross-site refusal and an access log."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from preceptor.server import errors
from preceptor.server.errors import Problem
from preceptor.server.limits import bounded

log = logging.getLogger("preceptor.access")

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
Respond = Callable[[Request, Exception], Awaitable[Response]]
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class Envelope:
    """What surrounds every request, whichever route answers it."""

    def __init__(self, app: ASGIApp, respond: Respond = errors.respond) -> None:
        self.app = app
        self.respond = respond

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500
        request_id = secrets.token_hex(8)
        answered = False

        async def send_with_headers(message: Message) -> None:
            nonlocal status, answered
            if message["type"] == "http.response.start":
                status, answered = message["status"], True
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                headers["X-Request-Id"] = request_id
                if not scope["path"].startswith("/static/"):
                    headers.setdefault("Cache-Control", "no-store")
            await send(message)

        try:
            if _is_cross_site(scope):
                raise Problem("cross-site")
            await self.app(scope, bounded(scope, receive), send_with_headers)
        except Exception as error:
            if answered:
                raise
            response = await self.respond(Request(scope), error)
            await response(scope, receive, send_with_headers)
        finally:
            elapsed = (time.perf_counter() - started) * 1000
            log.info("%s %s %d %.0fms %s", scope["method"], _route(scope), status, elapsed, request_id)


def _route(scope: Scope) -> str:
    """The pattern of the route, never the address itself: callers put anything into addresses."""
    route: Any = scope.get("route")
    return str(getattr(route, "path", None) or "-")


def _is_cross_site(scope: Scope) -> bool:
    """An unsafe request that a browser makes from another site. Bearer tokens are never sent by themselves."""
    if scope["method"] in _SAFE_METHODS:
        return False
    headers = Headers(scope=scope)
    if "authorization" in headers:
        return False
    if headers.get("sec-fetch-site", "none") not in {"same-origin", "none"}:
        return True
    # `null` is what browsers send under Referrer-Policy: no-referrer; the form token decides there
    origin = headers.get("origin", "null")
    return origin != "null" and urlsplit(origin).netloc != headers.get("host", "")
