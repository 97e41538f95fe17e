"""A prompt in, an OpenAI-compatible server asked, its answer in pieces out."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from functools import partial
from typing import Any

import httpx

from preceptor.gateway.backends import Finish, Piece, Sampling, Source, visible
from preceptor.modeling.sequences import SYSTEM_PROMPT
from preceptor.release.document import Served
from preceptor.server.errors import Problem
from preceptor.settings import Settings

_TIMEOUT = httpx.Timeout(60.0, connect=5.0)


def upstream_source(served: Served, settings: Settings, *, timeout: httpx.Timeout = _TIMEOUT) -> Source:
    """A release that another server runs."""
    key = settings.upstream_api_key
    headers = {"Authorization": f"Bearer {key.get_secret_value()}"} if key else {}
    address = f"{(served.upstream or '').rstrip('/')}/chat/completions"
    return Source(served, served.digest, partial(stream, address, served.model, headers, timeout))


async def stream(
    address: str, model: str, headers: dict[str, str], timeout: httpx.Timeout, prompt: str, sampling: Sampling
) -> AsyncGenerator[Piece]:
    """Answers to a prompt, piece by piece.

    Raises:
        Problem: the server does not answer in time (504), cannot be reached, refuses or answers nonsense (502).
    """
    body: dict[str, Any] = {
        "model": model,
        "messages": [{"role": "system", "content": SYSTEM_PROMPT}, {"role": "user", "content": prompt}],
        "stream": True,
        **sampling.record(),
    }
    if sampling.stop:
        body["stop"] = list(sampling.stop)
    texts = [""] * sampling.n
    sent = [""] * sampling.n
    ended: set[int] = set()
    try:
        async with (
            httpx.AsyncClient(timeout=timeout, headers=headers) as client,
            client.stream("POST", address, json=body) as answer,
        ):
            if answer.status_code != 200:
                raise Problem("upstream-failed", f"The upstream server answered with status {answer.status_code}.")
            async for line in answer.aiter_lines():
                for index, text, finish in _read_line(line):
                    if index in ended or not 0 <= index < sampling.n:
                        continue
                    texts[index] += text
                    shown, _ = visible(texts[index], sampling.stop, done=finish is not None)
                    delta, sent[index] = shown[len(sent[index]) :], shown
                    if finish is not None:
                        ended.add(index)
                    if delta or finish is not None:
                        yield Piece(index, delta, finish)
    except httpx.TimeoutException:
        raise Problem("upstream-timeout") from None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise Problem("upstream-failed", f"The upstream server cannot be reached ({type(error).__name__}).") from None
    if len(ended) < sampling.n:
        raise Problem("upstream-failed", "The upstream server broke off before its answer was whole.")


def _read_line(line: str) -> list[tuple[int, str, Finish | None]]:
    """The choices of one server-sent event: index, more text, and why it ended."""
    if not line.startswith("data:") or line[5:].strip() == "[DONE]":
        return []
    try:
        event = json.loads(line[5:])
        return [
            (
                int(choice.get("index", 0)),
                str((choice.get("delta") or {}).get("content") or ""),
                None if choice.get("finish_reason") is None else _finish(choice["finish_reason"]),
            )
            for choice in event["choices"]
        ]
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        raise Problem("upstream-failed", "The upstream server's answer is not in the OpenAI form.") from None


def _finish(reason: object) -> Finish:
    return "length" if reason == "length" else "stop"
