"""Normalized fields of one record in, their findings out: all detectors, overlaps joined, caught values propagated."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from preceptor.privacy import contact, dates, names, numbers, places
from preceptor.privacy.entities import judge
from preceptor.privacy.eponyms import TITLES, is_protected
from preceptor.privacy.identifiers import PLACEHOLDER, Finding, Kind
from preceptor.privacy.lexicon import is_general, is_safe
from preceptor.privacy.name_context import LOOKALIKES
from preceptor.privacy.words import Word, split_words

KnownValue = str | tuple[str, str]
"""A value that the caller knows to identify; alone, or after the kind it is of."""

_COARSE = frozenset({Kind.ZIP, Kind.AGE})
_JOINING = frozenset({Kind.NAME, Kind.LOCATION})
_NAME_FLOOR = 0.6


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a record as the detectors see it."""

    text: str
    entities: Sequence[tuple[str, int, int]]


def detect(fields: Sequence[Field], known_values: Iterable[KnownValue] = ()) -> list[list[Finding]]:
    """Return, field by field, findings in order that do not overlap each other or a placeholder."""
    worded = [split_words(field.text) for field in fields]
    known = list(_known_patterns(known_values))
    found: list[list[Finding]] = []
    for field, words in zip(fields, worded, strict=True):
        raw = [finding for pattern, kind in known for finding in _known(field.text, pattern, kind)]
        for detector in (contact, numbers, dates, places):
            raw.extend(detector.find(field.text))
        raw.extend(names.find(field.text, words))
        raw.extend(judge(field.text, words, field.entities))
        found.append(_settle(field.text, raw))
    return _propagate(fields, worded, found)


def _known_patterns(values: Iterable[KnownValue]) -> Iterator[tuple[re.Pattern[str], Kind]]:
    for value in values:
        kind_name, text = ("", value) if isinstance(value, str) else value
        text = text.strip()
        if len(text) < 2:
            continue
        kind = Kind(kind_name.upper()) if kind_name else _guess(text)
        parts = [re.escape(part) for part in text.split()]
        yield re.compile(rf"(?<!\w){'[ ,.-]{1,3}'.join(parts)}(?!\w)", re.IGNORECASE), kind
        if kind is Kind.NAME and len(parts) > 1:
            for part in text.split():
                bare = part.strip(".,'")
                if len(bare) > 2:
                    flags = re.IGNORECASE if not is_safe(bare) else 0
                    yield re.compile(rf"(?<!\w){re.escape(bare)}(?!\w)", flags), kind


def _guess(text: str) -> Kind:
    if "@" in text:
        return Kind.EMAIL
    if not any(ch.isdigit() for ch in text):
        return Kind.NAME
    return Kind.DATE if re.fullmatch(r"\d{1,4}[/.-]\d{1,2}[/.-]\d{1,4}", text) else Kind.ID


def _known(text: str, pattern: re.Pattern[str], kind: Kind) -> Iterator[Finding]:
    for match in pattern.finditer(text):
        yield Finding(kind, match.start(), match.end(), "known-value", 1.0)


def _settle(text: str, raw: Sequence[Finding]) -> list[Finding]:
    """Cut findings at placeholders, then join what overlaps or continues into one."""
    fixed = [match.span() for match in PLACEHOLDER.finditer(text)]
    cut = [piece for finding in raw for piece in _outside(text, finding, fixed)] if fixed else list(raw)
    merged: list[Finding] = []
    for finding in sorted(cut, key=lambda item: (item.start, -item.end)):
        last = merged[-1] if merged else None
        if last is not None and (finding.start < last.end or _continues(text, last, finding)):
            lead = max((last, finding), key=_weight)
            merged[-1] = replace(lead, start=last.start, end=max(last.end, finding.end))
        else:
            merged.append(finding)
    return merged


def _weight(finding: Finding) -> tuple[bool, float]:
    """Rank two findings that meet: a coarse kind would let a part of the other through."""
    return finding.kind not in _COARSE and finding.detector != "number-shape", finding.score


def _continues(text: str, last: Finding, finding: Finding) -> bool:
    between = text[last.end : finding.start]
    if last.kind is not finding.kind or last.kind not in _JOINING:
        return False
    return between in {" ", "-"} or (last.kind is Kind.LOCATION and between in {", ", "\n", ",\n", " in "})


def _outside(text: str, finding: Finding, fixed: Sequence[tuple[int, int]]) -> Iterator[Finding]:
    """Yield the parts of a finding that no placeholder covers, where they hold a letter or digit."""
    start = finding.start
    for left, right in fixed:
        if right <= start or left >= finding.end:
            continue
        yield from _part(text, finding, start, left)
        start = right
    yield from _part(text, finding, start, finding.end)


def _part(text: str, finding: Finding, start: int, end: int) -> Iterator[Finding]:
    while start < end and not text[start].isalnum():
        start += 1
    while end > start and not text[end - 1].isalnum():
        end -= 1
    whole = (start, end) == (finding.start, finding.end)
    # What is left of a torn finding counts only where it still looks proper, so that "the" is never a name.
    if end > start and (whole or any(ch.isdigit() or ch.isupper() for ch in text[start:end])):
        yield replace(finding, start=start, end=end)


def _propagate(
    fields: Sequence[Field], worded: Sequence[Sequence[Word]], found: list[list[Finding]]
) -> list[list[Finding]]:
    """Find again, in every field, what was caught once in the record."""
    surnames: set[str] = set()
    whole: set[str] = set()  # words of names of several words or after a title: found again in lower case too
    values: dict[str, Kind] = {}
    for field, findings in zip(fields, found, strict=True):
        for finding in findings:
            value = field.text[finding.start : finding.end]
            if finding.kind is Kind.NAME:
                if finding.score >= _NAME_FLOOR:
                    parts = split_words(value)
                    caught = {word.bare for word in parts if len(word.text) > 2 and word.bare not in TITLES}
                    surnames |= caught
                    whole |= caught if len(parts) > 1 or finding.detector == "known-value" else set()
            elif finding.kind not in _COARSE | {Kind.DATE} and len(value) > 3:
                values[value] = finding.kind
    patterns = [(re.compile(rf"(?<!\w){re.escape(value)}(?!\w)"), kind) for value, kind in values.items()]
    settled: list[list[Finding]] = []
    for field, words, findings in zip(fields, worded, found, strict=True):
        extra = [
            Finding(Kind.NAME, word.start, word.end, "propagated", 0.7)
            for index, word in enumerate(words)
            if word.bare in (surnames if word.capital else whole) and _same_name(field.text, words, index)
        ]
        for pattern, kind in patterns:
            extra.extend(
                Finding(kind, match.start(), match.end(), "propagated", 0.7) for match in pattern.finditer(field.text)
            )
        settled.append(_settle(field.text, [*findings, *extra]))
    return settled


def _same_name(text: str, words: Sequence[Word], index: int) -> bool:
    word = words[index]
    if is_protected(text, words, index) or is_general(word.text):
        return False
    if word.bare in LOOKALIKES:
        return word.capital and not word.opens and not word.shouted
    if is_safe(word.text):
        return word.capital and not word.shouted
    return True
