"""OpenAI-style requests of a signed-in clinician in; stored, judgeable answers out, whole or streamed."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Annotated, Any

import anyio
from fastapi import APIRouter, Depends, Header
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response, StreamingResponse

from preceptor.collect.ids import new_id
from preceptor.collect.schemas import MAXIMUM_TEXT, Name
from preceptor.gateway import payloads
from preceptor.gateway.backends import Finish, Piece, Source
from preceptor.gateway.keeping import NO_ANSWER, Said, Turn, keep
from preceptor.gateway.payloads import Heading
from preceptor.gateway.schemas import ChatRequest
from preceptor.gateway.service import Gateway, gateway_of
from preceptor.server.api.route import ProblemRoute
from preceptor.server.api.shapes import problems
from preceptor.server.auth import Principal, allow
from preceptor.server.errors import to_problem

ROLES = ("clinician", "curator", "ml_engineer", "service", "admin")

router = APIRouter(route_class=ProblemRoute, tags=["gateway"])


@dataclass
class Answering:
    """One turn under way: what has been said so far, answer by answer."""

    gateway: Gateway
    principal: Principal
    turn: Turn
    heading: Heading
    source: Source
    started: float
    texts: list[str]
    finishes: list[Finish | None]
    prompt_tokens: int = 0
    completion_tokens: int = 0
    kept: bool = field(default=False)

    async def pieces(self) -> AsyncGenerator[Piece]:
        """The answers as they come; an answer without a word becomes a visible one."""
        async with aclosing(self.source.stream(self.turn.prompt, self.turn.sampling)) as pieces:
            async for piece in pieces:
                text = _storable(piece.text)[: MAXIMUM_TEXT - len(self.texts[piece.index])]
                if piece.finish is not None:
                    if not (self.texts[piece.index] + text).strip():
                        text = NO_ANSWER
                    self.finishes[piece.index] = piece.finish
                    self.prompt_tokens = max(self.prompt_tokens, piece.prompt_tokens)
                    self.completion_tokens += piece.completion_tokens
                self.texts[piece.index] += text
                yield Piece(piece.index, text, piece.finish)

    async def keep(self) -> None:
        """Store what was said, once, also when the caller has gone in the middle of it."""
        said = [
            Said(interaction_id, text, finish == "stop")
            for interaction_id, text, finish in zip(
                self.heading.interaction_ids, self.texts, self.finishes, strict=True
            )
            if text.strip()
        ]
        if self.kept or not said:
            return
        self.kept = True
        latency = int((time.monotonic() - self.started) * 1000)
        with anyio.CancelScope(shield=True):
            await run_in_threadpool(keep, self.gateway.found, self.principal, self.turn, said, latency_ms=latency)


def _storable(text: str) -> str:
    """What an upstream server said, without characters that no database stores."""
    return text.replace("\x00", "").encode("utf-8", "replace").decode()


@router.get("/v1/models", responses=problems())
def list_models(gateway: Gateway = Depends(gateway_of), _: Principal = allow(*ROLES)) -> dict[str, Any]:
    """The agents that answer here."""
    names = sorted(gateway.agents())
    models = [{"id": f"preceptor/{name}", "object": "model", "created": 0, "owned_by": "preceptor"} for name in names]
    return {"object": "list", "data": models}


@router.post(
    "/v1/chat/completions",
    response_model=None,
    responses={200: {"content": {"text/event-stream": {}}}, **problems(404, 502, 504, 507)},
)
async def complete(
    body: ChatRequest,
    gateway: Gateway = Depends(gateway_of),
    principal: Principal = allow(*ROLES),
    session_header: Annotated[Name | None, Header(alias="X-Preceptor-Session-Id")] = None,
) -> Response:
    """Answer as the named agent. The answer's `preceptor.interaction_id` is what a judgement refers to."""
    started = time.monotonic()
    agent_name = body.agent_name()
    choice, source = await run_in_threadpool(gateway.prepare, agent_name, principal)
    sampling = body.sampling(dict(choice.served.params))
    session_id = (body.metadata and body.metadata.session_id) or session_header
    heading = Heading(
        completion_id=f"chatcmpl-{secrets.token_hex(12)}",
        created=int(time.time()),
        agent_name=agent_name,
        digest=source.digest,
        session_id=session_id or f"chat_{secrets.token_hex(8)}",
        interaction_ids=tuple(new_id("int") for _ in range(sampling.n)),
    )
    answering = Answering(
        gateway=gateway,
        principal=principal,
        turn=Turn(choice, source.digest, body.prompt(), heading.session_id, sampling),
        heading=heading,
        source=source,
        started=started,
        texts=[""] * sampling.n,
        finishes=[None] * sampling.n,
    )
    if body.stream:
        with_usage = body.stream_options is not None and body.stream_options.include_usage
        events = await _opened(_events(answering, with_usage=with_usage))
        return StreamingResponse(events, media_type="text/event-stream", headers=heading.headers())
    async for _piece in answering.pieces():
        pass
    await answering.keep()
    answers = [(text, finish or "stop") for text, finish in zip(answering.texts, answering.finishes, strict=True)]
    counts = {"prompt_tokens": answering.prompt_tokens, "completion_tokens": answering.completion_tokens}
    return JSONResponse(payloads.completion(heading, answers, **counts), headers=heading.headers())


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
