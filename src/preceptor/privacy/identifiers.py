"""The kinds of identifier, one finding, and the placeholder that stands in for it.

The eighteen kinds are those of the HIPAA Safe Harbor rule, 45 CFR 164.514(b)(2)(i). Two of them have a part that may
stay in a coarser form and so a kind of their own here: ages over 89 (written "90+") and ZIP codes (three digits).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What an identifier identifies by; the value is the word inside its placeholder."""

    NAME = "NAME"
    LOCATION = "LOCATION"
    ZIP = "ZIP"
    DATE = "DATE"
    AGE = "AGE"
    PHONE = "PHONE"
    FAX = "FAX"
    EMAIL = "EMAIL"
    SSN = "SSN"
    MRN = "MRN"
    PLAN = "PLAN"
    ACCOUNT = "ACCOUNT"
    LICENSE = "LICENSE"
    VEHICLE = "VEHICLE"
    DEVICE = "DEVICE"
    URL = "URL"
    IP = "IP"
    BIOMETRIC = "BIOMETRIC"
    PHOTO = "PHOTO"
    ID = "ID"


DIRECT_KINDS: frozenset[Kind] = frozenset({Kind.SSN, Kind.MRN, Kind.PHONE, Kind.FAX, Kind.EMAIL, Kind.PLAN})
"""Kinds that point at one person by themselves; missing one of them is never acceptable."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One identifier: where it stands (character offsets), who found it, and how sure the detector is (0 to 1)."""

    kind: Kind
    start: int
    end: int
    detector: str
    score: float


@dataclass(frozen=True, slots=True)
class Scrubbed:
    """De-identified text and what was removed; offsets refer to the text that was given."""

    text: str
    findings: tuple[Finding, ...]


_KINDS = "|".join(kind.value for kind in Kind)
PLACEHOLDER = re.compile(rf"\[(?P<kind>{_KINDS})(?:_(?P<number>\d{{1,6}})| (?P<area>\d{{3}}))\]")
"""What a replaced identifier looks like: ``[NAME_1]``, or ``[ZIP 941]``."""

SMALL_ZIP_AREAS: frozenset[str] = frozenset(
    (
        "036",
        "059",
        "063",
        "102",
        "203",
        "556",
        "692",
        "790",
        "821",
        "823",
        "830",
        "831",
        "878",
        "879",
        "884",
        "890",
        "893",
    )
)
"""Three-digit areas of 20,000 people or fewer (2000 census, the list in HHS guidance); they become 000."""


def placeholder(kind: Kind, number: int, value: str) -> str:
    """Return the stand-in for ``value``, the ``number``-th distinct identifier of its kind in the record."""
    if kind is Kind.AGE:
        return "90+"
    if kind is Kind.ZIP:
        area = "".join(ch for ch in value if ch.isdigit())[:3].ljust(3, "0")
        return f"[ZIP {'000' if area in SMALL_ZIP_AREAS else area}]"
    return f"[{kind.value}_{number}]"
