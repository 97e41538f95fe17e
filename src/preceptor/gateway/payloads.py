"""A turn and its answers in; the JSON of OpenAI's chat completions, whole or in chunks, out.

What clinicians can see names the interaction to judge and the weights, never the arm: comparisons are blinded.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from preceptor.gateway.backends import Finish
from preceptor.modeling.sequences import PROMPT_VERSION


@dataclass(frozen=True)
class Heading:
    """What every chunk repeats."""

    completion_id: str
    created: int
    agent_name: str
    digest: str
    session_id: str
    interaction_ids: tuple[str, ...]

    def headers(self) -> dict[str, str]:
        return announced(self.interaction_ids)

    def body(self, kind: str, choices: Sequence[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self.completion_id,
            "object": kind,
            "created": self.created,
            "model": f"preceptor/{self.agent_name}",
            "system_fingerprint": self.digest,
            "choices": list(choices),
            "preceptor": {
                "interaction_id": self.interaction_ids[0],
                "interaction_ids": list(self.interaction_ids),
                "session_id": self.session_id,
                "model_digest": self.digest,
                "prompt_version": PROMPT_VERSION,
            },
        }


def announced(interaction_ids: Sequence[str]) -> dict[str, str]:
    """The header that names what can be judged, also where the body is a stream."""
    return {"X-Preceptor-Interaction-Id": ", ".join(interaction_ids)}


def completion(
    heading: Heading, answers: Sequence[tuple[str, Finish]], *, prompt_tokens: int, completion_tokens: int
) -> dict[str, Any]:
    """The whole answer."""
    choices = [
        {
            "index": index,
            "message": {"role": "assistant", "content": text, "refusal": None},
            "finish_reason": finish,
            "logprobs": None,
            "preceptor": {"interaction_id": heading.interaction_ids[index]},
        }
        for index, (text, finish) in enumerate(answers)
    ]
    return {
        **heading.body("chat.completion", choices),
        "usage": usage(prompt_tokens, completion_tokens),
    }


def chunk(heading: Heading, index: int, *, text: str | None, finish: Finish | None = None, first: bool = False) -> str:
    """One server-sent event with more of one answer."""
    delta: dict[str, str] = {"role": "assistant"} if first else {}
    if text is not None:
        delta["content"] = text
    choice = {"index": index, "delta": delta, "finish_reason": finish, "logprobs": None}
    return event(heading.body("chat.completion.chunk", [choice]))


def usage_chunk(heading: Heading, prompt_tokens: int, completion_tokens: int) -> str:
    """The event with the token counts, when the caller asked for it."""
    return event({**heading.body("chat.completion.chunk", []), "usage": usage(prompt_tokens, completion_tokens)})


def usage(prompt_tokens: int, completion_tokens: int) -> dict[str, int]:
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }


def event(body: dict[str, Any]) -> str:
    return f"data: {json.dumps(body, ensure_ascii=False)}\n\n"
