"""An OpenAI-style chat request in, its checked fields out; what cannot be honored is refused, not ignored."""

from __future__ import annotations

import secrets
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from preceptor.collect.schemas import Name
from preceptor.errors import InputError
from preceptor.gateway.backends import Sampling

MAXIMUM_TEXT = 60_000
DEFAULT_TOKENS = 256
_Empty = Annotated[float, Field(ge=0, le=0)] | None


def _storable(text: str) -> str:
    if "\x00" in text or any("\ud800" <= char <= "\udfff" for char in text):
        raise ValueError("The text holds a character that cannot be stored (NUL, or half of a pair)")
    return text


_Said = Annotated[str, AfterValidator(_storable)]


class TextPart(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    type: Literal["text"]
    text: _Said


class Message(BaseModel):
    """One turn. Only text is understood; the empty `refusal` of our own answers may come back with them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    role: Literal["system", "developer", "user", "assistant"]
    content: _Said | list[TextPart]
    name: str | None = None
    refusal: None = None

    @property
    def text(self) -> str:
        if isinstance(self.content, str):
            return self.content
        return "\n".join(part.text for part in self.content)


class StreamOptions(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    include_usage: bool = False


class Metadata(BaseModel):
    """What a caller notes beside a request; `session_id` names the conversation that is judged later."""

    model_config = ConfigDict(extra="allow", frozen=True)
    __pydantic_extra__: dict[str, str]

    session_id: Name | None = None


class ChatRequest(BaseModel):
    """The body of `POST /v1/chat/completions`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: Annotated[str, Field(min_length=1, max_length=200, description="An agent: its name, or preceptor/NAME.")]
    messages: Annotated[list[Message], Field(min_length=1, max_length=200)]
    n: Annotated[int, Field(ge=1, le=8)] | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    max_tokens: Annotated[int, Field(ge=1, le=1024)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1, le=1024)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    stop: str | Annotated[list[str], Field(max_length=4)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    user: str | None = None
    metadata: Metadata | None = None
    store: bool | None = None
    presence_penalty: _Empty = None
    frequency_penalty: _Empty = None
    logprobs: Literal[False] | None = None

    @model_validator(mode="after")
    def _ends_with_a_question(self) -> ChatRequest:
        if self.messages[-1].role != "user" or not self.messages[-1].text.strip():
            raise ValueError("The last message must be a user's, with text")
        if sum(len(message.text) for message in self.messages) > MAXIMUM_TEXT:
            raise ValueError(f"The messages are longer than {MAXIMUM_TEXT} characters together")
        return self

    def agent_name(self) -> str:
        """The agent that is asked.

        Raises:
            InputError: the name could not be an agent's.
        """
        name = self.model.removeprefix("preceptor/")
        if not name.replace("_", "").replace("-", "").isalnum() or not name.isascii() or len(name) > 80:
            raise InputError("`model` names the agent: letters, digits, - and _, such as preceptor/triage_agent.")
        return name

    def prompt(self) -> str:
        """The text that is answered and stored: the question itself, or the conversation written out."""
        turns = [message for message in self.messages if message.text.strip()]
        if len(turns) == 1:
            return turns[0].text.strip()
        names = {"system": "Instructions", "developer": "Instructions", "user": "Clinician", "assistant": "Assistant"}
        return "\n".join(f"{names[turn.role]}: {turn.text.strip()}" for turn in turns)

    def sampling(self, defaults: dict[str, Any]) -> Sampling:
        """How to draw the answers: the request's values, then the deployment's, then temperature 1 and 256 tokens."""
        stops = [self.stop] if isinstance(self.stop, str) else self.stop or []
        tokens = self.max_completion_tokens or self.max_tokens
        return Sampling(
            n=self.n or 1,
            max_tokens=int(tokens or defaults.get("max_tokens", DEFAULT_TOKENS)),
            temperature=float(self.temperature if self.temperature is not None else defaults.get("temperature", 1.0)),
            top_p=float(self.top_p if self.top_p is not None else defaults.get("top_p", 1.0)),
            seed=self.seed if self.seed is not None else secrets.randbelow(2**31),
            stop=tuple(text for text in stops if text),
        )
