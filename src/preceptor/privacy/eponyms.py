"""A word among its neighbors in, whether it stands in the name of a disease, a sign, a score or a dose out."""

from __future__ import annotations

import re
from collections.abc import Sequence

from preceptor.privacy.lexicon import LOOSE_NOUNS, STRICT_NOUNS, is_eponym, is_safe
from preceptor.privacy.wordlists import given_names, surnames, word_set
from preceptor.privacy.words import Word, gap

TITLES = word_set("""
dr doctor mr mrs ms miss mx prof professor rev reverend sgt capt captain lt officer sir madam dame sra nurse
senator governor mayor president judge pastor coach principal sheriff detective
""")
_VERY_COMMON = 1000
_REACH = 4
_LINKS = frozenset({"and", "s", "von", "de", "sign", "heart"})
_ADJECTIVE = re.compile(r"(?:[aeiou]l|ic|ous|ar|ive|ary|plus|onset|type|ed)$")
_DISEASE = re.compile(
    r"(?:osis|itis|pathy|trophy|plasia|[aeo]mia|[^o]oma|philia|dactyly|penia|cytosis|sclerosis|paresis|plegia)$"
)
_DOSE_UNITS = ("mg", "mcg", "ml", "unit", "%", " g", "iu")
_FORMS = (
    *("tablet", "capsule", "cream", "inhaler", "patch", "injection", "gel", "ointment", "spray"),
    *("xr", "er ", "sr ", "xl", "hct", "hfa", "drops"),
)


def is_title(word: Word) -> bool:
    """Tell whether the word is a form of address that a name follows."""
    return word.lower in TITLES


def is_protected(text: str, words: Sequence[Word], index: int) -> bool:
    """Tell whether the word is kept here: "Parkinson's disease" yes, "Dr Parkinson" no, "Mr Smith's score" no."""
    word = words[index]
    if index > 0 and is_title(words[index - 1]) and not gap(text, words[index - 1], word).strip(" ."):
        return False
    listed = is_eponym(word.text)
    common = word.bare in given_names() or surnames().get(word.bare, _VERY_COMMON) < _VERY_COMMON
    for after in range(index + 1, min(index + _REACH + 1, len(words))):
        between, follower = gap(text, words[after - 1], words[after]), words[after].lower
        if between.strip(" -'/,") or "\n" in between:
            break
        if (
            _DISEASE.search(follower)
            or follower in STRICT_NOUNS
            or (follower in LOOSE_NOUNS and (listed or not common))
        ):
            return listed or word.bare not in given_names()
        adjective = _ADJECTIVE.search(follower) and is_safe(follower)
        if not (words[after].capital or adjective or follower in _LINKS or is_eponym(follower)):
            break
    if listed:
        return not _named(text, words, index) and (
            not common or (word.text.endswith("'s") and word.bare not in given_names())
        )
    return not common and word.bare not in surnames() and _dosed(text, word)


def _named(text: str, words: Sequence[Word], index: int) -> bool:
    """A given name or an initial stands right before: then even an eponym is a person."""
    if index == 0:
        return False
    before = words[index - 1]
    if gap(text, before, words[index]).strip(" ."):
        return False
    return before.initial or (before.capital and before.bare in given_names())


def _dosed(text: str, word: Word) -> bool:
    """An unknown capitalized word before a dose or a form is a brand, not a person."""
    after = text[word.end : word.end + 26].lstrip(" ").lower()
    if after[:1].isdigit():
        return any(unit in after[:14] for unit in _DOSE_UNITS)
    return after.startswith(_FORMS)
