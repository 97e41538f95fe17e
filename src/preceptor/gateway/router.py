"""OpenAI-style requests of a signed-in clinician in; stored, judgeable answers out, whole or streamed."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Any

import anyio
from fastapi import APIRouter, Depends, Header
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from preceptor.collect.schemas import Name
from preceptor.gateway import payloads, repeats
from preceptor.gateway.answering import Answering, begin
from preceptor.gateway.schemas import ChatRequest
from preceptor.gateway.service import Gateway, gateway_of
from preceptor.server.api.idempotency import IdempotencyHeader, read_copy
from preceptor.server.api.route import ProblemRoute
from preceptor.server.api.shapes import problems
from preceptor.server.auth import Principal, allow
from preceptor.server.errors import Problem, to_problem

ROLES = ("clinician", "curator", "ml_engineer", "service", "admin")

router = APIRouter(route_class=ProblemRoute, tags=["gateway"])


@router.get("/v1/models", responses=problems())
def list_models(gateway: Gateway = Depends(gateway_of), _: Principal = allow(*ROLES)) -> dict[str, Any]:
    """The agents that answer here."""
    names = sorted(gateway.agents())
    models = [{"id": f"preceptor/{name}", "object": "model", "created": 0, "owned_by": "preceptor"} for name in names]
    return {"object": "list", "data": models}


@router.post(
    "/v1/chat/completions",
    response_model=None,
    responses={200: {"content": {"text/event-stream": {}}}, **problems(404, 409, 502, 504, 507)},
)
async def complete(
    body: ChatRequest,
    request: Request,
    gateway: Gateway = Depends(gateway_of),
    principal: Principal = allow(*ROLES),
    session_header: Annotated[Name | None, Header(alias="X-Preceptor-Session-Id")] = None,
    _key: IdempotencyHeader = None,
) -> Response:
    """Answer as the named agent. The answer's `preceptor.interaction_id` is what a judgement refers to."""
    copy = read_copy(request, principal, body=body)
    session_id = (body.metadata and body.metadata.session_id) or session_header
    if body.stream:
        if copy is not None:
            error = {"pointer": "#header/Idempotency-Key", "detail": "A stream cannot be repeated; leave the key out"}
            raise Problem("invalid", errors=[error])
        answering = await begin(gateway, principal, body, session_id)
        with_usage = body.stream_options is not None and body.stream_options.include_usage
        events = await _opened(_events(answering, with_usage=with_usage))
        return StreamingResponse(events, media_type="text/event-stream", headers=answering.heading.headers())
    if copy is None:
        return _render(await (await begin(gateway, principal, body, session_id)).whole())
    kept = await run_in_threadpool(repeats.claim, gateway.found, copy)
    if kept is not None:
        return _render(kept, replayed=True)
    try:
        answer = await (await begin(gateway, principal, body, session_id)).whole()
        await run_in_threadpool(repeats.settle, gateway.found, copy, answer)
    except BaseException:
        with anyio.CancelScope(shield=True):
            await run_in_threadpool(repeats.give_up, gateway.found, copy)
        raise
    return _render(answer)


def _render(answer: dict[str, Any], *, replayed: bool = False) -> JSONResponse:
    headers = payloads.announced(answer["preceptor"]["interaction_ids"])
    return JSONResponse(answer, headers=headers | ({"Idempotency-Replayed": "true"} if replayed else {}))


async def _events(answering: Answering, *, with_usage: bool) -> AsyncGenerator[str]:
    """Server-sent events; the last text is stored before `[DONE]` says so."""
    begun: set[int] = set()
    try:
        async with aclosing(answering.pieces()) as pieces:
            async for piece in pieces:
                first = piece.index not in begun
                begun.add(piece.index)
                if piece.text or first:
                    yield payloads.chunk(answering.heading, piece.index, text=piece.text, first=first)
                if piece.finish is not None:
                    yield payloads.chunk(answering.heading, piece.index, text=None, finish=piece.finish)
        await answering.keep()
        if with_usage:
            yield payloads.usage_chunk(answering.heading, answering.prompt_tokens, answering.completion_tokens)
        yield "data: [DONE]\n\n"
    except Exception as error:
        if not begun:
            raise  # nothing was sent: the caller gets a problem document and a status
        problem = to_problem(error)
        yield payloads.event({"error": {"message": problem.detail or problem.slug, "type": problem.slug}})
    finally:
        await answering.keep()


async def _opened(events: AsyncGenerator[str]) -> AsyncGenerator[str]:
    """Wait for the first event, so that a failure before it still has its own status code."""
    first = await anext(events)

    async def all_of_them() -> AsyncGenerator[str]:
        async with aclosing(events):
            yield first
            async for item in events:
                yield item

    return all_of_them()
