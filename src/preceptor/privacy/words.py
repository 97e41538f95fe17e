"""Normalized text in, its words out with what a name detector asks of each: case, place in the sentence, neighbors."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_WORD = re.compile(r"[^\W\d_](?:[^\W\d_]|['-](?=[^\W\d_])){0,60}")
_OPENERS = frozenset('.!?:;\n"([•*>|-/')


@dataclass(frozen=True, slots=True)
class Word:
    """One run of letters (with inner hyphens and apostrophes) and its place."""

    text: str
    start: int
    end: int
    opens: bool
    """It follows a full stop, a colon, a bracket or a line break, where a capital says nothing."""
    joined: bool
    """Digits, underscores or an @ touch it, so that it is a part of a code."""

    @property
    def lower(self) -> str:
        return self.text.lower()

    @property
    def bare(self) -> str:
        """Lower case without a possessive ending or an inner apostrophe, as name lists write it."""
        return self.text.lower().removesuffix("'s").replace("'", "")

    @property
    def capital(self) -> bool:
        """A capital first, or after an Arabic or Celtic particle: al-Rashid, d'Angelo."""
        first, mark, rest = self.text.partition("-" if "-" in self.text else "'")
        return self.text[0].isupper() or (bool(mark) and len(first) < 4 and rest[:1].isupper())

    @property
    def shouted(self) -> bool:
        return len(self.text) > 1 and self.text.isupper()

    @property
    def initial(self) -> bool:
        return len(self.text) == 1 and self.text.isupper()


def split_words(text: str) -> list[Word]:
    """Return the words of a text in order."""
    found: list[Word] = []
    for match in _WORD.finditer(text):
        start, end = match.span()
        index = start - 1
        while index >= 0 and text[index] == " ":
            index -= 1
        opens = index < 0 or text[index] in _OPENERS
        joined = (start > 0 and (text[start - 1].isdigit() or text[start - 1] in "_@")) or (
            end < len(text) and (text[end].isdigit() or text[end] in "_@")
        )
        found.append(Word(match.group(), start, end, opens, joined))
    return found


def gap(text: str, first: Word, second: Word) -> str:
    """Return what stands between two words."""
    return text[first.end : second.start]


def is_shouting(words: Sequence[Word]) -> bool:
    """Most of the text is in capitals, so that capitals tell nothing."""
    long = [word for word in words if len(word.text) > 3]
    return len(long) > 2 and sum(word.shouted for word in long) > 0.6 * len(long)
