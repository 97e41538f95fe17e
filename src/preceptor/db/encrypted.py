"""Text in, sealed text out and back: raw clinical columns at rest, bound to their table, column and row.

Without a key text is stored as written, so plain SQL against the raw tables keeps working; with a key every
new value is sealed, and values written by plain SQL stay readable beside them.
"""

from __future__ import annotations

from dataclasses import dataclass

from preceptor.privacy.cipher import SEALED_PREFIX, Key, derive_key, open_sealed, seal
from preceptor.settings import Settings


@dataclass(frozen=True)
class TextCipher:
    """Seals and opens text columns; `key` is None where encryption at rest is off."""

    key: Key | None

    def seal(self, text: str | None, *, table: str, column: str, row: str) -> str | None:
        if text is None or self.key is None:
            return text
        return seal(text, key=self.key, context=f"{table}/{column}/{row}")

    def open(self, text: str | None, *, table: str, column: str, row: str) -> str | None:
        if text is None or not text.startswith(SEALED_PREFIX):
            return text
        return open_sealed(text, key=self.key, context=f"{table}/{column}/{row}")


def make_cipher(settings: Settings) -> TextCipher:
    """The cipher of this installation."""
    secret = settings.encryption_key
    return TextCipher(derive_key(secret.get_secret_value()) if secret else None)
