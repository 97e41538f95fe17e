"""A text and its findings in, the text with placeholders out, with each offset traced to the text that was given."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from preceptor.privacy.identifiers import PLACEHOLDER, Finding, Kind, placeholder
from preceptor.privacy.words import split_words


class Tokens:
    """The placeholders of one record: the same value always gets the same one."""

    def __init__(self, texts: Iterable[str]) -> None:
        texts = list(texts)
        self._highest = {kind: _highest(texts, kind) for kind in Kind}
        self._given: dict[tuple[Kind, str], str] = {}
        self._people: list[tuple[set[str], str]] = []

    def of(self, kind: Kind, value: str) -> str:
        """Return the placeholder of a value, a new one at its first mention."""
        if kind in {Kind.AGE, Kind.ZIP}:
            return placeholder(kind, 0, value)
        if kind is Kind.NAME:
            return self._person(value)
        key = (kind, "".join(value.casefold().split()))
        if key not in self._given:
            self._given[key] = self._next(kind, value)
        return self._given[key]

    def _person(self, value: str) -> str:
        """Give "Mr. Smith" the number of "Robert Smith": a part of a name is the same person."""
        parts = {word.bare for word in split_words(value) if len(word.text) > 2 or word.initial} or {value.casefold()}
        for known, token in self._people:
            shared = any(len(part) > 2 for part in known & parts)
            if known == parts or (shared and (parts <= known or known <= parts)):
                known |= parts
                return token
        token = self._next(Kind.NAME, value)
        self._people.append((parts, token))
        return token

    def _next(self, kind: Kind, value: str) -> str:
        self._highest[kind] += 1
        return placeholder(kind, self._highest[kind], value)


class Replaced:
    """One field: its original text and what stands in for which parts of it."""

    def __init__(self, name: str, original: str) -> None:
        self.name = name
        self.original = original
        self.current = original
        self._parts: list[tuple[Finding, str]] = []
        self._edges: list[tuple[int, int, int, bool]] = [(0, 0, len(original), False)]

    def findings(self) -> Iterator[Finding]:
        """Yield what was replaced, in order, by offsets of the original."""
        return (finding for finding, _ in self._parts)

    def replace(self, found: Sequence[Finding], tokens: Tokens) -> None:
        """Replace findings given by offsets of the current text."""
        for finding in found:
            token = tokens.of(finding.kind, self.current[finding.start : finding.end])
            traced = replace(finding, start=self._trace(finding.start, False), end=self._trace(finding.end - 1, True))
            self._parts = [part for part in self._parts if part[0].end <= traced.start or part[0].start >= traced.end]
            self._parts.append((traced, token))
        self._parts.sort(key=lambda part: part[0].start)
        self._render()

    def _trace(self, offset: int, last: bool) -> int:
        """Map an offset of the current text to the original; ``last`` gives the offset after that character."""
        start, origin, end, fixed = self._edges[bisect_right(self._edges, offset, key=lambda edge: edge[0]) - 1]
        if fixed:
            return end if last else origin
        return origin + offset - start + int(last)

    def _render(self) -> None:
        pieces: list[str] = []
        edges: list[tuple[int, int, int, bool]] = []
        position = length = 0
        for finding, token in self._parts:
            for text, origin, end, fixed in (
                (self.original[position : finding.start], position, finding.start, False),
                (token, finding.start, finding.end, True),
            ):
                if text:
                    edges.append((length, origin, end, fixed))
                    pieces.append(text)
                    length += len(text)
            position = finding.end
        edges.append((length, position, len(self.original), False))
        pieces.append(self.original[position:])
        self.current, self._edges = "".join(pieces), edges


def _highest(texts: Iterable[str], kind: Kind) -> int:
    """Return the highest number a placeholder of this kind has already, so that a new one never collides."""
    marks = (match for text in texts for match in PLACEHOLDER.finditer(text))
    return max((int(match["number"]) for match in marks if match["kind"] == kind.value and match["number"]), default=0)
