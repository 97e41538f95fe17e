"""A request in, the same with a bounded body out, or a refusal: 413 for too many bytes, 429 for too many judgements."""

from __future__ import annotations

from sqlalchemy.orm import Session
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Scope

from preceptor.collect.contributions import seconds_until_room
from preceptor.server.auth import Principal
from preceptor.server.deps import Installation
from preceptor.server.errors import Problem

MAX_BODY_BYTES = 1_000_000
MAX_IMPORT_BYTES = 64_000_000


def bounded(scope: Scope, receive: Receive) -> Receive:
    """Count what is received, whatever Content-Length promised; files to import may be larger.

    Raises:
        HTTPException: 413, here or while receiving.
    """
    limit = MAX_IMPORT_BYTES if scope["path"].endswith("/import") else MAX_BODY_BYTES
    promised = Headers(scope=scope).get("content-length", "0")
    if not promised.isdigit() or int(promised) > limit:
        raise HTTPException(413)
    received = 0

    async def receive_bounded() -> Message:
        nonlocal received
        message = await receive()
        if message["type"] == "http.request":
            received += len(message.get("body", b""))
            if received > limit:
                raise HTTPException(413)
        return message

    return receive_bounded


def demand_unhurried(session: Session, found: Installation, principal: Principal) -> None:
    """Refuse the judgement of an account that has given too many in the last minute; services may give any number.

    Raises:
        Problem: 429, with the seconds to wait in Retry-After.
    """
    most = found.settings.rate_limit_per_minute
    if most == 0 or principal.role == "service":
        return
    wait = seconds_until_room(session, principal.user_id, per_minute=most)
    if wait:
        told = f"This account gave {most} judgements in the last minute, which is the most. Wait {wait} seconds."
        raise Problem("too-many", told, headers={"Retry-After": str(wait)})
