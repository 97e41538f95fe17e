"""The words of a text in, findings of personal names out: by title, by relation, by name list, by being no known word.

A capital proves little and a name list less; what decides is the two together, and the company a word keeps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from preceptor.privacy.eponyms import is_protected, is_title
from preceptor.privacy.identifiers import Finding, Kind
from preceptor.privacy.lexicon import STRICT_NOUNS, is_eponym, is_general, is_safe
from preceptor.privacy.name_context import (
    AGE_NEXT,
    COMMON_SURNAME,
    KIN,
    LOOKALIKES,
    PARTICLES,
    PERSON_VERBS,
    POST_NOMINALS,
    PREPOSITIONS,
    SPOKEN_TITLES,
    SUBJECT_NEXT,
    VERY_COMMON,
    acts,
    camel,
    introduced,
    name_is,
    pair,
    with_another,
)
from preceptor.privacy.wordlists import given_names, surnames
from preceptor.privacy.words import Word, gap, is_shouting

_Span = tuple[int, str, float]
"""Index of the last word, detector, score; the first word is where the search stands."""


def find(text: str, words: Sequence[Word]) -> Iterator[Finding]:
    """Yield names; a protected eponym yields nothing."""
    shouting = is_shouting(words)
    index = 0
    while index < len(words):
        span = (
            _titled(text, words, index)
            or _listed(text, words, index, shouting)
            or _lower_case(text, words, index)
            or _by_initials(text, words, index)
            or _single(text, words, index, shouting)
        )
        if span is None:
            index += 1
            continue
        last, detector, score = span
        yield Finding(Kind.NAME, words[index].start, words[last].end, detector, score)
        index = last + 1


def _titled(text: str, words: Sequence[Word], index: int) -> _Span | None:
    """Dr Patel, Mr. van der Berg, nurse Kelly: the title goes with the name."""
    if not is_title(words[index]) or index + 1 >= len(words):
        return None
    head = words[index + 1]
    if gap(text, words[index], head).strip(" .") or head.joined:
        return None
    if not head.capital:
        named = head.bare in surnames() or head.bare in given_names()
        short = words[index].lower in {"dr", "mr", "mrs", "ms"}
        if head.lower not in PARTICLES and not (short and named and not is_safe(head.text)):
            return None
    elif words[index].lower in SPOKEN_TITLES and (
        (is_safe(head.text) and head.bare not in given_names()) or head.opens
    ):
        return None
    return _extend(text, words, index + 1, strong=True), "title", 0.95


def _listed(text: str, words: Sequence[Word], index: int, shouting: bool) -> _Span | None:
    """Given name and surname or initial, `Surname, Given`, a name before MD, or two unknown capitals in a row."""
    word, following = pair(text, words, index)
    if following is None or not word.capital or not following.capital:
        return None
    between = gap(text, word, following)
    if between == ", " and word.bare in surnames() and is_eponym(word.text) and following.lower in given_names():
        return _extend(text, words, index + 1, strong=False), "surname-first", 0.85
    if is_protected(text, words, index):
        return None
    safe, next_safe = is_safe(word.text), is_safe(following.text)
    family = following.bare in surnames() or following.bare in given_names()
    if word.bare in given_names() and between in {" ", ". "} and following.lower not in POST_NOMINALS:
        sure = not safe and word.lower not in LOOKALIKES
        if following.initial:
            if following.text != "I" and (sure or introduced(text, words, index)):
                return _extend(text, words, index, strong=False), "given-and-initial", 0.9
        elif sure and (family or not next_safe):
            return _extend(text, words, index, strong=False), "given-and-surname", 0.9
        elif (
            not next_safe and following.bare in surnames() and not shouting and not is_protected(text, words, index + 1)
        ):
            return index + 1, "given-and-surname", 0.8
        elif introduced(text, words, index) and between == " " and word.lower not in LOOKALIKES and not shouting:
            return max(index + 1, _extend(text, words, index, strong=True)), "given-and-surname", 0.7
        elif (
            family
            and between == " "
            and not (shouting or word.shouted or following.shouted)
            and _alone(words, index)
            and not is_protected(text, words, index + 1)
        ):
            # "Jasper Winterbourne": two ordinary words that are also names, capitalized among words that are not.
            return _extend(text, words, index, strong=False), "given-and-surname", 0.6
    if between == ", " and not safe and not is_general(word.text):
        if word.bare in surnames() and following.lower in given_names():
            return _extend(text, words, index + 1, strong=False), "surname-first", 0.85
        if following.lower in POST_NOMINALS and following.shouted:
            return index, "post-nominal", 0.85
    if between == " " and not safe and not next_safe and not word.shouted and not following.initial:
        kept = is_protected(text, words, index + 1) or is_eponym(word.text) or camel(word.text) or following.shouted
        if not kept and not camel(following.text):
            return _extend(text, words, index, strong=False), "unknown-pair", 0.7
    return None


def _alone(words: Sequence[Word], index: int) -> bool:
    """The two words stand inside a sentence, and no third capital beside them makes a heading of it."""
    first, second = words[index], words[index + 1]
    if first.opens or is_general(first.text) or is_general(second.text) or first.lower in LOOKALIKES:
        return False
    third = words[index + 2] if index + 2 < len(words) else None
    heading = words[index - 1].capital and not words[index - 1].opens
    return not heading and not (third is not None and third.capital and not third.opens)


def _lower_case(text: str, words: Sequence[Word], index: int) -> _Span | None:
    """`john okafor`, `eric g. samoylova`, `hi its keisha`: names typed without capitals."""
    word, following = pair(text, words, index)
    if word.capital or word.joined or len(word.text) < 3:
        return None
    if is_eponym(word.text) and word.bare not in given_names():
        return None
    if is_safe(word.text) or word.bare in LOOKALIKES:
        # "my dad earl is", "nurse joy okonjo": a word that is also a name, after one that says whose.
        kin = index > 0 and words[index - 1].lower in KIN and gap(text, words[index - 1], word) == " "
        if (
            not kin
            or word.bare not in given_names()
            or word.bare in LOOKALIKES - {"joy", "hope", "faith"}
            or following is None
        ):
            return None
        if not is_safe(following.text) and not following.capital:
            return index + 1, "lower-case-name", 0.6
        return (index, "lower-case-name", 0.5) if following.lower in PERSON_VERBS else None
    rank = given_names().get(word.bare)
    was_introduced = introduced(text, words, index, spoken=True)
    if (
        following is not None
        and rank is not None
        and (rank < VERY_COMMON * 2 or was_introduced)
        and word.bare not in LOOKALIKES
    ):
        last = index + 1
        middle = len(following.text) == 1 and following.lower != "a" and index + 2 < len(words)
        if middle and gap(text, following, words[index + 2]) in {" ", ". "}:
            following, last = words[index + 2], index + 2
        surname = surnames().get(following.bare, 10**6) < COMMON_SURNAME and was_introduced
        if len(following.text) > 2 and not following.joined and (not is_safe(following.text) or surname):
            return last, "lower-case-name", 0.7
    common = rank is not None and rank < 2 * VERY_COMMON
    listed = rank is not None or surnames().get(word.bare, 10**6) < COMMON_SURNAME
    was_introduced = was_introduced and words[index - 1].lower not in PREPOSITIONS
    if word.bare not in LOOKALIKES and (common or (was_introduced and listed)):
        return index, "lower-case-name", 0.6
    if name_is(text, words, index):
        return index, "given-as-name", 0.8
    return None


def _by_initials(text: str, words: Sequence[Word], index: int) -> _Span | None:
    """`J. K. Osei`, `E. Osei`, and `J.R.` after "patient" or "initials"."""
    word, following = pair(text, words, index)
    if following is None or not word.initial or not following.capital:
        return None
    between = gap(text, word, following)
    if between == "." and following.initial and SUBJECT_NEXT.match(text, following.end):
        return index + 1, "initials", 0.6
    if word.text in {"I", "A"}:
        return None
    if between not in {". ", " ", "."}:
        return None
    if following.initial:
        third = words[index + 2] if index + 2 < len(words) else None
        proper = third is not None and third.capital and not third.shouted and not is_safe(third.text)
        if third is not None and proper and gap(text, following, third) in {". ", " "}:
            return None if is_protected(text, words, index + 2) else (index + 2, "initials-and-surname", 0.8)
        if introduced(text, words, index) or (index and words[index - 1].lower == "initials"):
            return index + 1, "initials", 0.7
        return None
    sure = not is_safe(following.text) and not is_protected(text, words, index + 1)
    if "." in between and (sure or (following.bare in surnames() and introduced(text, words, index))):
        return _extend(text, words, index + 1, strong=False), "initials-and-surname", 0.75
    return None


def _single(text: str, words: Sequence[Word], index: int, shouting: bool) -> _Span | None:
    """One capitalized word: by name list, by relation, or because no list of ordinary or clinical words holds it."""
    word = words[index]
    if word.joined or not word.capital or len(word.text) < 3 or is_protected(text, words, index):
        return None
    given, was_introduced = word.bare in given_names(), introduced(text, words, index)
    if name_is(text, words, index) and not is_general(word.text):
        return index, "given-as-name", 0.8
    if is_safe(word.text):
        if given and word.bare not in LOOKALIKES and with_another(text, words, index):
            return index, "names-together", 0.7
        proper = given and not word.opens and not word.shouted and not is_general(word.text)
        return (index, "relation", 0.6) if was_introduced and proper else None
    if given:
        return index, "given-name", 0.8
    if is_eponym(word.text) and not was_introduced:
        return None
    short = word.shouted and not shouting and len(word.text) < 5 and not was_introduced
    if word.bare in surnames() and not short:
        return index, "surname", 0.6
    if word.shouted or camel(word.text):
        return None
    foreign = not word.text.isascii() or AGE_NEXT.match(text, word.end) is not None
    if word.opens and not was_introduced and not foreign and not acts(text, words, index):
        return None
    return index, "unknown-capital", 0.4


def _extend(text: str, words: Sequence[Word], first: int, *, strong: bool) -> int:
    """Take the following initials, particles and surnames into the name; return the index of its last word."""
    last = first
    for index in range(first + 1, min(first + 5, len(words))):
        word, between = words[index], gap(text, words[index - 1], words[index])
        if between not in {" ", ". ", ".", "-"} or word.joined or word.lower in POST_NOMINALS:
            break
        if between == ". " and not (words[index - 1].initial or words[index - 1].lower in PARTICLES):
            break
        family = word.bare in surnames() or word.bare in given_names()
        trusted = family and not is_general(word.text) and (strong or index == first + 1)
        if word.capital and not word.initial and (not is_safe(word.text) or trusted):
            if is_protected(text, words, index) and index + 1 < len(words) and words[index + 1].lower in STRICT_NOUNS:
                break
            last = index
        elif word.initial and word.text != "I":
            last = index
        elif not (word.lower in PARTICLES and index + 1 < len(words) and words[index + 1].capital):
            break
    return last
