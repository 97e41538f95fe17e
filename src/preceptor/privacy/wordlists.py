"""The shipped word lists in, sets for membership tests out, loaded once a process (see data/README.md)."""

from __future__ import annotations

import gzip
from functools import lru_cache
from importlib.resources import files


def _lines(name: str) -> list[str]:
    resource = files("preceptor.privacy").joinpath("data", name)
    return gzip.decompress(resource.read_bytes()).decode().split()


@lru_cache(maxsize=1)
def safe_words() -> frozenset[str]:
    """Lower-case English and medical words that are not, as a word, the name of a person or a town."""
    return frozenset(_lines("safe_words.txt.gz"))


@lru_cache(maxsize=1)
def given_names() -> dict[str, int]:
    """Lower-case given names with their rank, the commonest first."""
    return {name: rank for rank, name in enumerate(_lines("given_names.txt.gz"))}


@lru_cache(maxsize=1)
def surnames() -> dict[str, int]:
    """Lower-case surnames with their rank, the commonest first."""
    return {name: rank for rank, name in enumerate(_lines("surnames.txt.gz"))}


def word_set(text: str) -> frozenset[str]:
    """Return the words of a list that is written out as running text."""
    return frozenset(text.split())
