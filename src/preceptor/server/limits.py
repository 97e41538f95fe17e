"""A request in, the same request with a bounded body out: too many bytes are a 413 before they fill the memory."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Scope

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
