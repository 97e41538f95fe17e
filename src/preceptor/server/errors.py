"""Any failure in, one RFC 9457 problem document out, naming fields by JSON Pointer and never repeating input."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from preceptor import errors as tree
from preceptor.collect.feedback import AmbiguousInteractionError
from preceptor.collect.importer import ImportRefusedError
from preceptor.collect.schemas import FieldError
from preceptor.collect.store import ChangedMeanwhileError

log = logging.getLogger("preceptor.server")

PROBLEMS: dict[str, tuple[int, str]] = {
    "malformed-body": (400, "The body is not readable JSON in UTF-8"),
    "use-json-body": (400, "Send the fields as a JSON body, not in the address"),
    "sign-in-required": (401, "Send a bearer token, or sign in"),
    "not-allowed": (403, "This account may not do that"),
    "csrf": (403, "The form token is missing or old; reload the page and try again"),
    "cross-site": (403, "The request came from another site"),
    "not-found": (404, "There is no such thing, or it is not yours to see"),
    "method-not-allowed": (405, "This address does not answer that method"),
    "conflict": (409, "The request contradicts what is stored"),
    "ambiguous-interaction": (409, "Several answers fit; name one by interaction_id"),
    "in-progress": (409, "The same request is still being worked on"),
    "changed-meanwhile": (412, "The record changed since it was read"),
    "too-large": (413, "The body is too large"),
    "invalid": (422, "A field is missing or not usable"),
    "key-reused": (422, "The Idempotency-Key was used before with another body"),
    "too-many": (429, "Too many attempts; wait and try again"),
    "upstream-failed": (502, "The model server behind this agent failed"),
    "upstream-timeout": (504, "The model server behind this agent did not answer in time"),
    "unavailable": (503, "The service cannot answer right now; try again shortly"),
    "storage": (507, "There is no room to store the result"),
    "internal": (500, "The server failed; the failure is noted in its log"),
}
_BY_STATUS = {
    400: "malformed-body", 401: "sign-in-required", 403: "not-allowed", 404: "not-found", 405: "method-not-allowed",
    409: "conflict", 412: "changed-meanwhile", 413: "too-large", 422: "invalid", 429: "too-many", 503: "unavailable",
}  # fmt: skip
_BY_ERROR: tuple[tuple[type[tree.PreceptorError], str], ...] = (
    (tree.NotFoundError, "not-found"),
    (tree.ConflictError, "conflict"),
    (tree.AccessError, "not-allowed"),
    (tree.InputError, "invalid"),
    (tree.DataError, "invalid"),
    (tree.GateRefused, "conflict"),
    (tree.StorageError, "storage"),
    (tree.ModelError, "unavailable"),
)
_FIELD_NAME = re.compile(r"[A-Za-z][A-Za-z_-]{0,39}")
_WRONG_BODY = {
    "model_attributes_type": "Send a JSON object, with Content-Type: application/json",
    "bytes_type": "Send the lines themselves, with Content-Type: application/x-ndjson",
}
_UNAVAILABLE = (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.TimeoutError)


class Problem(Exception):
    """A failure with a problem type of its own; `errors` are `{pointer, detail}`, `more` are extra members."""

    def __init__(
        self,
        slug: str,
        detail: str | None = None,
        *,
        errors: Sequence[Mapping[str, str]] = (),
        headers: Mapping[str, str] | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(slug)
        self.slug, self.detail, self.errors = slug, detail, errors
        self.headers, self.more = dict(headers or {}), dict(more or {})


def render(problem: Problem) -> JSONResponse:
    """The document: type, title, status, and where known detail and errors."""
    status, title = PROBLEMS[problem.slug]
    body: dict[str, Any] = {"type": f"/problems/{problem.slug}", "title": title, "status": status}
    if problem.detail:
        body["detail"] = problem.detail
    if problem.errors:
        body["errors"] = [dict(error) for error in problem.errors]
    body.update(problem.more)
    headers = dict(problem.headers)
    if status == 401:
        headers.setdefault("WWW-Authenticate", "Bearer")
    if status in {429, 503}:
        headers.setdefault("Retry-After", "5")
    return JSONResponse(body, status_code=status, headers=headers, media_type="application/problem+json")


def to_problem(error: Exception) -> Problem:
    """Find the problem that describes a failure; an unknown failure is logged and shown without its inside."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, RequestValidationError):
        return _from_validation(error)
    if isinstance(error, HTTPException):
        slug = _BY_STATUS.get(error.status_code, "internal" if error.status_code >= 500 else "invalid")
        return Problem(slug, headers=error.headers)
    if isinstance(error, FieldError):
        pointers = [{"pointer": f"/{name}", "detail": error.message} for name in error.fields]
        return Problem("invalid", error.message, errors=pointers)
    if isinstance(error, ImportRefusedError):
        return Problem("invalid", error.message, more={"lines": error.report.shown()})
    if isinstance(error, AmbiguousInteractionError):
        return Problem("ambiguous-interaction", error.message, more={"interaction_ids": error.interaction_ids})
    if isinstance(error, ChangedMeanwhileError):
        return Problem("changed-meanwhile", error.message)
    if isinstance(error, tree.PreceptorError):
        for kind, slug in _BY_ERROR:
            if isinstance(error, kind):
                return Problem(slug, error.message)
        return Problem("internal")
    if isinstance(error, sa.exc.OperationalError) and type(error.orig).__name__ == "LockNotAvailable":
        return Problem("in-progress", headers={"Retry-After": "2"})
    if isinstance(error, _UNAVAILABLE) or (isinstance(error, sa.exc.DBAPIError) and error.connection_invalidated):
        log.warning("database unavailable: %s", type(error).__name__)
        return Problem("unavailable")
    if isinstance(error, sa.exc.IntegrityError):
        return Problem("conflict")
    if isinstance(error, sa.exc.DataError):  # a NUL in an address, a number that no column holds
        return Problem("invalid")
    log.error("request failed: %s", _describe(error))
    return Problem("internal")


def _describe(error: Exception) -> str:
    """Where an unknown error arose. Its message is left out: drivers and parsers quote values in theirs."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    place = f"{frame.tb_frame.f_code.co_filename}:{frame.tb_lineno}" if frame else "unknown place"
    return f"{type(error).__name__} at {place}"


def _from_validation(error: RequestValidationError) -> Problem:
    found = []
    for item in error.errors():
        location = item["loc"]
        if item["type"] == "json_invalid":
            return Problem("malformed-body")
        found.append({"pointer": _pointer(location), "detail": _explain(item)})
    return Problem("invalid", errors=found)


def _pointer(location: Sequence[Any]) -> str:
    """A JSON Pointer into the body, or `#query/name` elsewhere; odd names sent by the caller are masked."""
    source, path = (location[0], location[1:]) if location else ("body", ())
    parts = [str(part) if isinstance(part, int) or _FIELD_NAME.fullmatch(str(part)) else "?" for part in path]
    pointer = "".join(f"/{part}" for part in parts)
    return pointer if source == "body" else f"#{source}{pointer}"


def _explain(item: Mapping[str, Any]) -> str:
    """The rule that was broken, in the rule's own words: limits and allowed values, not what was sent."""
    if item["type"] == "extra_forbidden":
        return "This field is not known here"
    context = item.get("ctx") or {}
    if item["type"] == "value_error" and isinstance(context.get("error"), ValueError):
        return str(context["error"])
    if tuple(item["loc"]) == ("body",) and item["type"] in _WRONG_BODY:
        return _WRONG_BODY[item["type"]]
    if item["type"] in {"json_type", "union_tag_invalid"}:
        return "The value has the wrong kind"
    return str(item["msg"])


async def respond(_request: Request, error: Exception) -> JSONResponse:
    """Exception handler for every kind of failure."""
    return render(to_problem(error))
