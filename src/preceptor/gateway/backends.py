"""A deployed release and a prompt in, pieces of answers out: from weights in this process or an upstream server."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import Literal

from preceptor.release.document import Served

Finish = Literal["stop", "length"]


@dataclass(frozen=True)
class Sampling:
    """How answers are drawn."""

    n: int
    max_tokens: int
    temperature: float
    top_p: float
    seed: int
    stop: tuple[str, ...] = ()

    def record(self) -> dict[str, int | float]:
        """What is stored with an answer."""
        return {
            "n": self.n,
            "max_tokens": self.max_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "seed": self.seed,
        }


@dataclass(frozen=True)
class Piece:
    """More text of answer `index`; the last piece of an answer says why it ended and how many tokens were read."""

    index: int
    text: str
    finish: Finish | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0


Streamer = Callable[[str, Sampling], AsyncGenerator[Piece]]


@dataclass(frozen=True)
class Source:
    """A release that is ready to answer; `digest` is that of the weights really used."""

    served: Served
    digest: str
    stream: Streamer


def visible(text: str, stop: tuple[str, ...], *, done: bool) -> tuple[str, bool]:
    """How much of an answer may be shown, and whether a stop text was reached.

    While more may come, what could be the start of a stop text, half a character or closing white space is held back.
    """
    shown = text.lstrip()
    places = [place for place in (shown.find(end) for end in stop) if place >= 0]
    if places:
        return shown[: min(places)].rstrip(), True
    if not done:
        shown = shown.rstrip("\ufffd")
        longest = max((len(end) for end in stop), default=0)
        for held in range(min(longest - 1, len(shown)), 0, -1):
            if any(end.startswith(shown[-held:]) for end in stop):
                shown = shown[:-held]
                break
    return shown.rstrip(), False
