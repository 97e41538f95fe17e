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


@dataclass(frozen=True)
class Copy:
    """What tells that two requests are copies: the account, its key, and the digest of what was sent where."""

    user_id: int
    key: str
    route: str
    digest: str

    def row(self, status: int, response: dict[str, Any]) -> IdempotencyKey:
        return IdempotencyKey(
            user_id=self.user_id,
            key=self.key,
            route=self.route,
            request_hash=self.digest,
            status_code=status,
            response=response,
        )


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
    copy = read_copy(request, principal, body=body)
    with session_scope(found.engine) as session:
        session.execute(sa.text("SET LOCAL lock_timeout = '10s'"))
        if copy is None:
            return _render(work(session))
        there = find(session, found, copy)
        if there is not None:
            kept = there.response
            return _render(Reply(there.status_code, kept["body"], kept["location"]), replayed=True)
        reply = work(session)
        session.add(copy.row(reply.status, {"body": reply.body, "location": reply.location}))
        session.flush()
        return _render(reply)


def read_copy(request: Request, principal: Principal, *, body: BaseModel | bytes | None) -> Copy | None:
    """What a request's Idempotency-Key says; None without one.

    Raises:
        Problem: the key is malformed.
    """
    key = request.headers.get("idempotency-key")
    if key is None:
        return None
    if not _USABLE.fullmatch(key):
        error = {"pointer": "#header/Idempotency-Key", "detail": "1 to 200 visible ASCII characters"}
        raise Problem("invalid", errors=[error])
    route = f"{request.method} {request.url.path}"
    sent = body.model_dump_json(exclude_unset=True).encode() if isinstance(body, BaseModel) else body or b""
    digest = hashlib.sha256(b"\n".join((route.encode(), request.url.query.encode(), sent))).hexdigest()
    return Copy(principal.user_id, key, route, digest)


def find(session: Session, found: Installation, copy: Copy) -> IdempotencyKey | None:
    """The row of a key, waiting for whoever holds it; one that is too old is forgotten.

    Raises:
        Problem: the key was used with another body (422).
    """
    lock(session, "idempotency", copy.user_id, copy.key)
    there = session.scalar(
        sa.select(IdempotencyKey).where(IdempotencyKey.user_id == copy.user_id, IdempotencyKey.key == copy.key)
    )
    if there is None:
        return None
    kept = timedelta(days=found.settings.keep_keys_days)
    if session.scalar(sa.select(sa.func.now() - there.created_at > kept)):
        session.delete(there)
        session.flush()
        return None
    if there.request_hash != copy.digest:
        raise Problem("key-reused")
    return there


def _render(reply: Reply, *, replayed: bool = False) -> Response:
    headers = {"Location": reply.location} if reply.location else {}
    if replayed:
        headers["Idempotency-Replayed"] = "true"
    if reply.status == 204:
        return Response(status_code=204, headers=headers)
    return JSONResponse({**reply.body, **reply.secret}, status_code=reply.status, headers=headers)
