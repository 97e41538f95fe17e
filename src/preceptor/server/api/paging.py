"""A cursor and a limit in, one page of a list out with the way to the next one; keyset, never offsets."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar
from urllib.parse import urlencode

from fastapi import Query
from starlette.requests import Request
from starlette.responses import JSONResponse

from preceptor.server.errors import Problem

Limit = Annotated[int, Query(ge=1, le=500)]
Cursor = Annotated[str | None, Query(max_length=64, description="The `next` of the page before.")]
_LARGEST = 2**31 - 1

Row = TypeVar("Row")


def read_cursor(cursor: str | None) -> int | None:
    """The internal id that a cursor stands for.

    Raises:
        Problem: it is not a cursor that was given out (422).
    """
    if cursor is None:
        return None
    try:
        value = int(base64.urlsafe_b64decode(cursor.encode() + b"=" * (-len(cursor) % 4)).decode("ascii"))
    except (ValueError, binascii.Error):
        value = 0
    if not 0 < value <= _LARGEST:
        raise Problem("invalid", errors=[{"pointer": "#query/cursor", "detail": "Use the `next` of the page before"}])
    return value


def page(
    request: Request, rows: Sequence[Row], *, limit: int, key: Callable[[Row], int], show: Callable[[Row], Any]
) -> JSONResponse:
    """Answer `items` and `next`; `rows` holds one row more than the limit when there is a next page."""
    shown = rows[:limit]
    following = None
    headers = {}
    if len(rows) > limit:
        following = base64.urlsafe_b64encode(str(key(shown[-1])).encode()).decode().rstrip("=")
        kept = [(name, value) for name, value in request.query_params.multi_items() if name != "cursor"]
        headers["Link"] = f'<{request.url.path}?{urlencode([*kept, ("cursor", following)])}>; rel="next"'
    return JSONResponse({"items": [show(row) for row in shown], "next": following}, headers=headers)
