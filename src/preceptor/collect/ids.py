"""Nothing in, a new opaque id out; text in, the hashes out that tell whether two raters saw the same thing."""

from __future__ import annotations

import hashlib
import secrets
import time
import unicodedata

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_SEPARATOR = "\x1f"


def new_id(prefix: str) -> str:
    """`fb_`, `pref_`, `int_`, `item_` or `asg_` and a ULID: 48 bits of time, then 80 random bits."""
    number = (int(time.time() * 1000) << 80) | secrets.randbits(80)
    return f"{prefix}_" + "".join(_ALPHABET[(number >> shift) & 31] for shift in range(125, -1, -5))


def derived_id(prefix: str, *parts: str) -> str:
    """The id of an imported row that has none: the same row gets the same id every time."""
    return f"{prefix}_{hashlib.sha256(_SEPARATOR.join(parts).encode()).hexdigest()[:26]}"


def normalize_text(text: str) -> str:
    """One form for texts that read the same: composed characters, LF line ends, no space around."""
    return unicodedata.normalize("NFC", text).replace("\r\n", "\n").strip()


def content_hash(*texts: str) -> str:
    """SHA-256 of the normalized texts, in order; the `judgements` view computes the same for plain SQL rows."""
    return hashlib.sha256(_SEPARATOR.join(normalize_text(text) for text in texts).encode()).hexdigest()
