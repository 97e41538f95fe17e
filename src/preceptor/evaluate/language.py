"""A text in; the language that its commonest words speak for, or that they speak for none, out.

It knows ten languages by their function words and others by their script. That is enough to see a policy slip into
another language, or into no language at all; it is no identification of languages in general.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

_WORDS = {
    "en": "the and of to is in you for it with that your are be this on or as if not have can should may "
    "a an i my what how do does which who when was by from at he she her his they them their will would more there any",
    "es": "el la los las de que y en un una es por para con su se del como más puede usted está si no",
    "fr": "le la les des de et en un une est que pour dans qui vous pas sur au avec plus votre ce ne il",
    "de": "der die das und ist ein eine nicht mit zu den von für sie auf im bei werden oder kann es dem sich auch",
    "it": "il la di che e è un una per con non del della sono si in le può anche come più nel i gli se",
    "pt": "o a os as de que e em um uma é para com não do da se por mais você como pode dos das no na",
    "nl": "de het een en van is dat in te niet op met voor zijn u je kan bij als of ook door aan er",
    "pl": "i w nie na się z do jest to że o jak po co za od przez lub dla może czy są ten być",
    "sv": "och att det är en ett som på för med av inte den du kan till om har de vid eller så i",
    "tr": "ve bir bu için ile da de olarak çok daha en gibi olan veya ne sonra var değil kadar her ya mi ise",
}
_TWO_WAYS = "a i o to do no as in is of on per me her die den he has had war man door it com"  # English words too
_SETS = {
    name: frozenset(words.split()) - (frozenset() if name == "en" else frozenset(_TWO_WAYS.split()))
    for name, words in _WORDS.items()
}
_FEWEST_WORDS = 6
_FEWEST_KNOWN = 0.08  # share of function words; running text of these languages has 0.3 and more
_MOST_FOREIGN = 0.3  # share of letters of another script


def language_of(text: str) -> str | None:
    """A two-letter code, `script:NAME` for a script other than Latin, `none` for words of no known language.

    None where the text is too short to tell, or two languages fit equally well.
    """
    letters = [letter for letter in text if letter.isalpha()]
    foreign = Counter(name for letter in letters if (name := _script(letter)) != "LATIN")
    if letters and sum(foreign.values()) > _MOST_FOREIGN * len(letters):
        return f"script:{foreign.most_common(1)[0][0]}"
    words = re.findall(r"[^\W\d_]+", text.lower())
    if len(words) < _FEWEST_WORDS:
        return None
    counts = {name: sum(word in known for word in words) for name, known in _SETS.items()}
    best, most = max(counts.items(), key=lambda item: item[1])
    if most < max(2, _FEWEST_KNOWN * len(words)):
        return "none"
    return best if sum(count == most for count in counts.values()) == 1 else None


def strays(prompt: str, answer: str) -> bool:
    """Whether the answer is in another language than the prompt, or in none; a text too short to tell does not stray.

    A prompt too short to tell is taken for English.
    """
    spoken = language_of(answer)
    expected = language_of(prompt)
    return spoken is not None and spoken != ("en" if expected in (None, "none") else expected)


def _script(letter: str) -> str:
    return unicodedata.name(letter, "UNKNOWN").split(" ", 1)[0]
