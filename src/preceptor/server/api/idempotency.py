"""A POST and its work in, its one answer out: done in one transaction, replayed for every copy of the request."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import Header
from pydantic import BaseModel
from sqlalchemy.orm import Session
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from preceptor.collect.store import lock
from preceptor.db.engine import session_scope
from preceptor.db.tables.ops import IdempotencyKey
from preceptor.server.auth import Principal
from preceptor.server.deps import Installation
from preceptor.server.errors import Problem

KEPT = timedelta(days=7)
_USABLE = re.compile(r"[\x21-\x7e]{1,200}")

IdempotencyHeader = Annotated[
    str | None,
    Header(alias="Idempotency-Key", description="Repeat a request with its key and get its first answer again."),
]


@dataclass(frozen=True)
class Reply:
    """What a handler answers. `secret` holds members that are sent now and not kept for a replay."""

    status: int
    body: dict[str, Any]
    location: str | None = None
    secret: dict[str, Any] = field(default_factory=dict)


def once(
    request: Request,
    found: Installation,
    principal: Principal,
    *,
    body: BaseModel | bytes | None,
    work: Callable[[Session], Reply],
) -> Response:
    """Do the work and keep its answer in the same transaction, or replay the answer kept under the same key.

    Copies that arrive together wait for the first. Without a key the work runs, and its own uniqueness rules hold.

    Raises:
        Problem: the key is malformed, or was used with another body (422).
    """
    key = request.headers.get("idempotency-key")
    with session_scope(found.engine) as session:
        session.execute(sa.text("SET LOCAL lock_timeout = '10s'"))
        if key is None:
            return _render(work(session))
        if not _USABLE.fullmatch(key):
            error = {"pointer": "#header/Idempotency-Key", "detail": "1 to 200 visible ASCII characters"}
            raise Problem("invalid", errors=[error])
        route = f"{request.method} {request.url.path}"
        digest = _digest(route, request.url.query, body)
        lock(session, "idempotency", principal.user_id, key)
        there = session.scalar(
            sa.select(IdempotencyKey).where(IdempotencyKey.user_id == principal.user_id, IdempotencyKey.key == key)
        )
        if there is not None and session.scalar(sa.select(sa.func.now() - there.created_at > KEPT)):
            session.delete(there)
            session.flush()
            there = None
        if there is not None:
            if there.request_hash != digest:
                raise Problem("key-reused")
            kept = there.response
            return _render(Reply(there.status_code, kept["body"], kept["location"]), replayed=True)
        reply = work(session)
        session.add(
            IdempotencyKey(
                user_id=principal.user_id,
                key=key,
                route=route,
                request_hash=digest,
                status_code=reply.status,
                response={"body": reply.body, "location": reply.location},
            )
        )
        session.flush()
        return _render(reply)


def _digest(route: str, query: str, body: BaseModel | bytes | None) -> str:
    sent = body.model_dump_json(exclude_unset=True).encode() if isinstance(body, BaseModel) else body or b""
    return hashlib.sha256(b"\n".join((route.encode(), query.encode(), sent))).hexdigest()


def _render(reply: Reply, *, replayed: bool = False) -> Response:
    headers = {"Location": reply.location} if reply.location else {}
    if replayed:
        headers["Idempotency-Replayed"] = "true"
    if reply.status == 204:
        return Response(status_code=204, headers=headers)
    return JSONResponse({**reply.body, **reply.secret}, status_code=reply.status, headers=headers)
