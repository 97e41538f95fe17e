"""The words of a text in, findings of personal names out: by title, by relation, by name list, by being no known word.

A capital proves little and a name list less; what decides is the two together, and the company a word keeps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from preceptor.privacy.eponyms import is_protected, is_title
from preceptor.privacy.identifiers import Finding, Kind
from preceptor.privacy.lexicon import STRICT_NOUNS, is_eponym, is_general, is_safe
from preceptor.privacy.wordlists import given_names, surnames, word_set
from preceptor.privacy.words import Word, gap

_SPOKEN_TITLES = frozenset({"doctor", "professor", "officer", "captain", "miss", "nurse", "sir", "madam"})
POST_NOMINALS = word_set("""
md do rn np pa phd pharmd dds dmd lpn crna fnp aprn msw lcsw dpm od mbbs frcp jr iii dob mrn
""")
_PARTICLES = word_set("""
de del della di da dos du la le van von der den ter al el bin ibn bint st san mac o
""")
_INTRODUCERS = word_set("""
named called name names surname signed sincerely regards nickname alias aka goes
""")
_RELATIONS = word_set("""
patient patients pt pts client wife husband spouse partner son daughter mother father mom dad sister brother
aunt uncle cousin grandmother grandfather grandson granddaughter niece nephew girlfriend boyfriend fiance
fiancee caregiver guardian friend neighbor roommate nurse attending surgeon cardiologist oncologist neurologist
psychiatrist pediatrician therapist pharmacist provider physician gp pcp nok contact hi hello dear thanks thank
meet spoke with by cc attn from like met mrn coach teacher interpreter
""")
_SPEAKER = frozenset({"its", "it's", "im", "i'm", "am", "me", "this"})
_PERSON_VERBS = word_set("""
lives lived spent works worked reports reported complains complained presents presented states stated says said
called calls came denies denied needs wants underwent told asked went moved lost turned feels felt takes took
weighs smokes drinks has had was is and
""")
_WEAK_VERBS = frozenset(
    {"has", "had", "was", "is", "and", "takes", "took", "presents", "presented", "needs", "came", "went"}
)
LOOKALIKES = word_set("""
an in my man see so soon long many else art bee can do good may will mark grant miles love hope faith joy
""")
_COMMON_SURNAME = 6000
_VERY_COMMON = 1000

_Span = tuple[int, str, float]
"""Index of the last word, detector, score; the first word is where the search stands."""


def find(text: str, words: Sequence[Word]) -> Iterator[Finding]:
    """Yield names; a protected eponym yields nothing."""
    shouting = _is_shouting(words)
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
        if head.lower not in _PARTICLES and not (short and named and not is_safe(head.text)):
            return None
    elif words[index].lower in _SPOKEN_TITLES and (
        (is_safe(head.text) and head.bare not in given_names()) or head.opens
    ):
        return None
    return _extend(text, words, index + 1, strong=True), "title", 0.95


def _listed(text: str, words: Sequence[Word], index: int, shouting: bool) -> _Span | None:
    """Given name and surname or initial, `Surname, Given`, a name before MD, or two unknown capitals in a row."""
    word, following = _pair(text, words, index)
    if following is None or not word.capital or not following.capital or is_protected(text, words, index):
        return None
    between = gap(text, word, following)
    safe, next_safe = is_safe(word.text), is_safe(following.text)
    family = following.bare in surnames() or following.bare in given_names()
    if word.bare in given_names() and between in {" ", ". "} and following.lower not in POST_NOMINALS:
        sure = not safe and word.lower not in LOOKALIKES
        if following.initial:
            if following.text != "I" and (sure or _introduced(text, words, index)):
                return _extend(text, words, index, strong=False), "given-and-initial", 0.9
        elif sure and (family or not next_safe):
            return _extend(text, words, index, strong=False), "given-and-surname", 0.9
        elif (
            not next_safe and following.bare in surnames() and not shouting and not is_protected(text, words, index + 1)
        ):
            return index + 1, "given-and-surname", 0.8
    if between == ", " and not safe and not is_general(word.text):
        if word.bare in surnames() and following.lower in given_names():
            return _extend(text, words, index + 1, strong=False), "surname-first", 0.85
        if following.lower in POST_NOMINALS and following.shouted:
            return index, "post-nominal", 0.85
    if between == " " and not safe and not next_safe and not word.shouted and not following.initial:
        kept = is_protected(text, words, index + 1) or is_eponym(word.text) or _camel(word.text) or following.shouted
        if not kept and not _camel(following.text):
            return _extend(text, words, index, strong=False), "unknown-pair", 0.7
    return None


def _lower_case(text: str, words: Sequence[Word], index: int) -> _Span | None:
    """`john okafor`, `eric g. samoylova`, `hi its keisha`: names typed without capitals."""
    word, following = _pair(text, words, index)
    if word.capital or word.joined or len(word.text) < 3 or is_safe(word.text) or is_eponym(word.text):
        return None
    rank = given_names().get(word.bare)
    introduced = _introduced(text, words, index, spoken=True)
    if (
        following is not None
        and rank is not None
        and (rank < _VERY_COMMON * 2 or introduced)
        and word.bare not in LOOKALIKES
    ):
        last = index + 1
        middle = len(following.text) == 1 and following.lower != "a" and index + 2 < len(words)
        if middle and gap(text, following, words[index + 2]) in {" ", ". "}:
            following, last = words[index + 2], index + 2
        surname = surnames().get(following.bare, 10**6) < _COMMON_SURNAME and introduced
        if len(following.text) > 2 and not following.joined and (not is_safe(following.text) or surname):
            return last, "lower-case-name", 0.7
    common = rank is not None and rank < 2 * _VERY_COMMON
    listed = rank is not None or word.bare in surnames()
    if word.bare not in LOOKALIKES and (common or (introduced and listed)):
        return index, "lower-case-name", 0.6
    if _name_is(words, index):
        return index, "given-as-name", 0.8
    return None


def _by_initials(text: str, words: Sequence[Word], index: int) -> _Span | None:
    """`J. K. Osei`, `E. Osei`, and `J.R.` after "patient" or "initials"."""
    word, following = _pair(text, words, index)
    if following is None or not word.initial or word.text in {"I", "A"} or not following.capital:
        return None
    between = gap(text, word, following)
    if between not in {". ", " ", "."}:
        return None
    if following.initial:
        third = words[index + 2] if index + 2 < len(words) else None
        proper = third is not None and third.capital and not third.shouted and not is_safe(third.text)
        if third is not None and proper and gap(text, following, third) in {". ", " "}:
            return None if is_protected(text, words, index + 2) else (index + 2, "initials-and-surname", 0.8)
        if _introduced(text, words, index) or (index and words[index - 1].lower == "initials"):
            return index + 1, "initials", 0.7
        return None
    sure = not is_safe(following.text) and not is_protected(text, words, index + 1)
    if "." in between and (sure or (following.bare in surnames() and _introduced(text, words, index))):
        return _extend(text, words, index + 1, strong=False), "initials-and-surname", 0.75
    return None


def _single(text: str, words: Sequence[Word], index: int, shouting: bool) -> _Span | None:
    """One capitalized word: by name list, by relation, or because no list of ordinary or clinical words holds it."""
    word = words[index]
    if word.joined or not word.capital or len(word.text) < 3 or is_protected(text, words, index):
        return None
    given, introduced = word.bare in given_names(), _introduced(text, words, index)
    if _name_is(words, index) and not is_general(word.text):
        return index, "given-as-name", 0.8
    if is_safe(word.text):
        proper = given and not word.opens and not word.shouted and not is_general(word.text)
        return (index, "relation", 0.6) if introduced and proper else None
    if given:
        return index, "given-name", 0.8
    if is_eponym(word.text) and not introduced:
        return None
    short = word.shouted and not shouting and len(word.text) < 5 and not introduced
    if word.bare in surnames() and not short:
        return index, "surname", 0.6
    if word.shouted or _camel(word.text):
        return None
    if word.opens and not introduced and not _acts(text, words, index):
        return None
    return index, "unknown-capital", 0.4


def _pair(text: str, words: Sequence[Word], index: int) -> tuple[Word, Word | None]:
    """Return the word and the next one, where no line break or code parts them."""
    word = words[index]
    following = words[index + 1] if index + 1 < len(words) else None
    if following is None or word.joined or following.joined or "\n" in gap(text, word, following):
        return word, None
    return word, following


def _extend(text: str, words: Sequence[Word], first: int, *, strong: bool) -> int:
    """Take the following initials, particles and surnames into the name; return the index of its last word."""
    last = first
    for index in range(first + 1, min(first + 5, len(words))):
        word, between = words[index], gap(text, words[index - 1], words[index])
        if between not in {" ", ". ", ".", "-"} or word.joined or word.lower in POST_NOMINALS:
            break
        if between == ". " and not (words[index - 1].initial or words[index - 1].lower in _PARTICLES):
            break
        family = word.bare in surnames() or word.bare in given_names()
        trusted = family and not is_general(word.text) and (strong or index == first + 1)
        if word.capital and not word.initial and (not is_safe(word.text) or trusted):
            if is_protected(text, words, index) and index + 1 < len(words) and words[index + 1].lower in STRICT_NOUNS:
                break
            last = index
        elif word.initial and word.text != "I":
            last = index
        elif not (word.lower in _PARTICLES and index + 1 < len(words) and words[index + 1].capital):
            break
    return last


def _introduced(text: str, words: Sequence[Word], index: int, *, spoken: bool = False) -> bool:
    """A word such as patient, wife or named stands just before."""
    if index == 0:
        return False
    before = words[index - 1]
    between = gap(text, before, words[index])
    if "\n" in between or between.strip(" :,.'\"(#") or ". " in between:
        return False
    return before.lower in _RELATIONS or before.lower in _INTRODUCERS or (spoken and before.lower in _SPEAKER)


def _name_is(words: Sequence[Word], index: int) -> bool:
    """`my name is nyberg`, `call me Vide`: whatever follows is a name."""
    if index < 2:
        return False
    two = (words[index - 2].lower, words[index - 1].lower)
    return two in {("name", "is"), ("name", "was"), ("call", "me"), ("calls", "me"), ("call", "him"), ("call", "her")}


def _acts(text: str, words: Sequence[Word], index: int) -> bool:
    """An unknown word that opens a sentence is a person where it says, lives or complains."""
    word, following = _pair(text, words, index)
    if following is None or gap(text, word, following) != " " or following.lower not in _PERSON_VERBS:
        return False
    if following.lower not in _WEAK_VERBS:
        return True
    after = text[following.end : following.end + 14].lower()
    return (
        after.startswith((" from ", " very ", " my ", " her ", " his ", " a ", " an ", " been "))
        or after[1:2].isdigit()
    )


def _camel(text: str) -> bool:
    """A capital inside marks a brand or a gene (CeraVe), but for McDonald, DeShawn and the like."""
    joined = "-" in text or "'" in text or text.startswith(("Mc", "Mac", "De", "La", "Le", "Van", "Fitz"))
    return not joined and any(ch.isupper() for ch in text[1:])


def _is_shouting(words: Sequence[Word]) -> bool:
    """Most of the text is in capitals, so that capitals tell nothing."""
    long = [word for word in words if len(word.text) > 3]
    return len(long) > 2 and sum(word.shouted for word in long) > 0.6 * len(long)
