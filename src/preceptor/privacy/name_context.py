"""The neighbors of a word in, what they say about it being a name out: relation, verb, label, a second name."""

from __future__ import annotations

import re
from collections.abc import Sequence

from preceptor.privacy.lexicon import is_safe
from preceptor.privacy.wordlists import given_names, word_set
from preceptor.privacy.words import Word, gap

SPOKEN_TITLES = word_set("""
doctor professor officer captain miss nurse sir madam senator governor mayor president judge pastor coach
principal sheriff detective
""")
POST_NOMINALS = word_set("""
md do rn np pa phd pharmd dds dmd lpn crna fnp aprn msw lcsw dpm od mbbs frcp jr iii dob mrn
""")
PARTICLES = word_set("""
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
PREPOSITIONS = word_set("""
with by from like cc attn
""")
_NAMED_THINGS = word_set("""
drug medication brand generic trade product file test procedure study
""")
KIN = word_set("""
wife husband son daughter mother father mom dad sister brother aunt uncle cousin grandmother grandfather nurse
grandson granddaughter niece nephew girlfriend boyfriend named patient pt
""")
AGE_NEXT = re.compile(r",? \((?:\d|[MFG]\d|[MF]\b|age)|, (?:an? )?\d{1,3}[ -]?(?:y|m)")
SUBJECT_NEXT = re.compile(r"\.,? (?:is|was|has|had|presents|presented|reports|takes|a \d|an \d|\d{1,3}[ -]?y)")
_SPEAKER = word_set("""
its it's im i'm am me this
""")
PERSON_VERBS = word_set("""
lives lived spent works worked reports reported complains complained presents presented states stated says said
called calls came denies denied needs wants underwent told asked went moved lost turned feels felt takes took
weighs smokes drinks has had was is and
""")
_WEAK_VERBS = word_set("""
has had was is and takes took presents presented needs came went
""")
_CARERS = word_set("parent parents guardian carer caregiver care family friend partner spouse")
LOOKALIKES = word_set("""
an in my man see so soon long many else art bee can do good may will mark grant miles love hope faith joy
""")
COMMON_SURNAME = 6000
VERY_COMMON = 1000


def introduced(text: str, words: Sequence[Word], index: int, *, spoken: bool = False) -> bool:
    """A word such as patient, wife or named stands just before."""
    if index == 0:
        return False
    before = words[index - 1]
    between = gap(text, before, words[index])
    if "\n" in between or between.strip(" :,.'\"(#") or ". " in between:
        return False
    if before.lower == "of" and index > 1 and words[index - 2].lower in KIN | _CARERS:
        return True
    return before.lower in _RELATIONS or before.lower in _INTRODUCERS or (spoken and before.lower in _SPEAKER)


def name_is(text: str, words: Sequence[Word], index: int) -> bool:
    """`my name is nyberg`, `call me Vide`: whatever follows is a name."""
    if index < 2:
        return False
    two = (words[index - 2].lower, words[index - 1].lower)
    if words[index - 1].lower == "name" and gap(text, words[index - 1], words[index]).strip() == ":":
        return two[0] not in _NAMED_THINGS
    return two in {("name", "is"), ("name", "was"), ("call", "me"), ("calls", "me"), ("call", "him"), ("call", "her")}


def with_another(text: str, words: Sequence[Word], index: int) -> bool:
    """`Pat and Chris`: beside a given name that is no other word, an ambiguous one is a name too."""
    after = words[index + 2] if index + 2 < len(words) else None
    joined = after is not None and text[words[index].end : after.start] == " and "
    return bool(joined and after and after.capital and after.bare in given_names() and not is_safe(after.text))


def acts(text: str, words: Sequence[Word], index: int) -> bool:
    """An unknown word that opens a sentence is a person where it says, lives or complains."""
    word, following = pair(text, words, index)
    if following is None or gap(text, word, following) != " " or following.lower not in PERSON_VERBS:
        return False
    if following.lower not in _WEAK_VERBS:
        return True
    after = text[following.end : following.end + 14].lower()
    return (
        after.startswith((" from ", " very ", " my ", " her ", " his ", " a ", " an ", " been "))
        or after[1:2].isdigit()
    )


def camel(text: str) -> bool:
    """A capital inside marks a brand or a gene (CeraVe), but for McDonald, DeShawn and the like."""
    if "-" in text and any(part.isupper() and len(part) > 2 for part in text.split("-")):
        return True  # VLDLR-associated
    joined = "-" in text or "'" in text or text.startswith(("Mc", "Mac", "De", "La", "Le", "Van", "Fitz"))
    return not joined and any(ch.isupper() for ch in text[1:])


def pair(text: str, words: Sequence[Word], index: int) -> tuple[Word, Word | None]:
    """Return the word and the next one, where no line break or code parts them."""
    word = words[index]
    following = words[index + 1] if index + 1 < len(words) else None
    if following is None or word.joined or following.joined or "\n" in gap(text, word, following):
        return word, None
    return word, following
