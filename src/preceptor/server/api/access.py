"""The role sets of the API, and small checks that several routes share."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import Header
from starlette.requests import Request

from preceptor.collect.interactions import Rater
from preceptor.server.auth import Principal
from preceptor.server.errors import Problem

RATERS = ("clinician", "curator", "admin", "service")
READERS = ("clinician", "curator", "phi_reviewer", "ml_engineer", "admin", "service")
TEXT_READERS = ("curator", "phi_reviewer", "admin")
CURATORS = ("curator", "admin")
REGISTRARS = ("service", "curator", "admin")
IMPORTERS = ("curator", "ml_engineer", "admin")

IfMatch = Annotated[str | None, Header(alias="If-Match", description="The ETag that was read; 412 if it changed.")]
_ETAG = re.compile(r'(?:W/)?"(\d{1,9})"')


def rater(principal: Principal) -> Rater:
    """The principal as the collect stage knows people."""
    return Rater(user_id=principal.user_id, role=principal.role, specialty=principal.specialty)


def is_blinded(principal: Principal) -> bool:
    """Whoever may still judge does not learn which arm or model answered."""
    return principal.role == "clinician"


def expected_revision(if_match: str | None) -> int | None:
    """The revision in an If-Match header; None for `*` or no header."""
    if if_match is None or if_match.strip() == "*":
        return None
    match = _ETAG.fullmatch(if_match.strip())
    if match is None:
        raise Problem("invalid", errors=[{"pointer": "#header/If-Match", "detail": "Send the ETag that was read"}])
    return int(match[1])


async def json_body_only(request: Request) -> None:
    """Refuse fields in the address: it ends up in logs, in histories and at proxies."""
    if request.query_params:
        raise Problem("use-json-body", "Send the same field names as a JSON object in the body.")


def beside(request: Request, name: str, identifier: str) -> str:
    """The address of a resource next to the one that was posted to, wherever the router is mounted."""
    return f"{request.url.path.rstrip('/').rsplit('/', 1)[0]}/{name}/{identifier}"
