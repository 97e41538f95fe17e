"""Text as typed in, a plain view to match patterns on out, with a map from each view character to its origin."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

_REPLACED = str.maketrans(
    {
        "‘": "'", "’": "'", "ʼ": "'", "′": "'", "“": '"', "”": '"',
        "‐": "-", "‑": "-", "‒": "-", "–": "-", "—": "-", "−": "-", "﹣": "-",
        "\u00a0": " ", "\u202f": " ", "\u2009": " ", "\u2007": " ", "\u3000": " ", "\t": " ",
    }
)  # fmt: skip
_INVISIBLE = frozenset(
    "\u200b\u200c\u200d\u2060\ufeff\u00ad\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)


@dataclass(frozen=True, slots=True)
class View:
    """Normalized text; character ``i`` of ``text`` comes from character ``origin[i]`` of the original."""

    text: str
    origin: tuple[int, ...] | None
    length: int

    def span(self, start: int, end: int) -> tuple[int, int]:
        """Map a span of the view to the span of the original that covers it."""
        if self.origin is None:
            return start, end
        return self.origin[start], self.origin[end - 1] + 1


def normalize(text: str) -> View:
    """Fold compatibility forms, quotes, dashes and spaces, and drop invisible characters."""
    if text.isascii():
        return View(text.replace("\t", " "), None, len(text))
    characters: list[str] = []
    origin: list[int] = []
    for index, character in enumerate(text):
        if character in _INVISIBLE:
            continue
        folded = unicodedata.normalize("NFKC", character.translate(_REPLACED))
        for part in folded:
            characters.append(part)
            origin.append(index)
    return View("".join(characters), tuple(origin), len(text))
