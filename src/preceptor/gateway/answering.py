"""A checked chat request in; its answers as they come, then kept as interactions, or whole as one body, out."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

import anyio
from starlette.concurrency import run_in_threadpool

from preceptor.collect.ids import new_id
from preceptor.collect.schemas import MAXIMUM_TEXT
from preceptor.gateway import payloads
from preceptor.gateway.backends import Finish, Piece, Source
from preceptor.gateway.keeping import NO_ANSWER, Said, Turn, keep
from preceptor.gateway.payloads import Heading
from preceptor.gateway.schemas import ChatRequest
from preceptor.gateway.service import Gateway
from preceptor.server.auth import Principal


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

    async def whole(self) -> dict[str, Any]:
        """Every answer to its end, stored, as one body."""
        async for _piece in self.pieces():
            pass
        await self.keep()
        answers = [(text, finish or "stop") for text, finish in zip(self.texts, self.finishes, strict=True)]
        counts = {"prompt_tokens": self.prompt_tokens, "completion_tokens": self.completion_tokens}
        return payloads.completion(self.heading, answers, **counts)


async def begin(gateway: Gateway, principal: Principal, body: ChatRequest, session_id: str | None) -> Answering:
    """Choose the release that answers and give each answer the id under which it will be judged.

    Raises:
        PreceptorError: there is no such agent, or its model cannot be loaded.
    """
    started = time.monotonic()
    agent_name = body.agent_name()
    choice, source = await run_in_threadpool(gateway.prepare, agent_name, principal)
    sampling = body.sampling(dict(choice.served.params))
    heading = Heading(
        completion_id=f"chatcmpl-{secrets.token_hex(12)}",
        created=int(time.time()),
        agent_name=agent_name,
        digest=source.digest,
        session_id=session_id or f"chat_{secrets.token_hex(8)}",
        interaction_ids=tuple(new_id("int") for _ in range(sampling.n)),
    )
    return Answering(
        gateway=gateway,
        principal=principal,
        turn=Turn(choice, source.digest, body.prompt(), heading.session_id, sampling),
        heading=heading,
        source=source,
        started=started,
        texts=[""] * sampling.n,
        finishes=[None] * sampling.n,
    )


def _storable(text: str) -> str:
    """What an upstream server said, without characters that no database stores."""
    return text.replace("\x00", "").encode("utf-8", "replace").decode()
