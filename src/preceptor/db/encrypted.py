"""Text in, sealed text out and back: raw clinical columns at rest, bound to their table, column and row.

Without a key text is stored as written, so plain SQL against the raw tables keeps working; with a key every
new value is sealed, and values written by plain SQL stay readable beside them.
"""

from __future__ import annotations

from dataclasses import dataclass

from preceptor.errors import ConfigError
from preceptor.privacy.cipher import Context, Keyset, is_sealed, load_keyset, open_sealed, seal
from preceptor.settings import Settings


@dataclass(frozen=True)
class TextCipher:
    """Seals and opens text columns; `key` is None where encryption at rest is off.

    The row is named by its public id (`feedback_id`, `preference_id`, `interaction_id`), which never changes.
    """

    key: Keyset | None

    def seal(self, text: str | None, *, table: str, column: str, row: str) -> str | None:
        if text is None or self.key is None:
            return text
        return seal(text, key=self.key, context=Context(table=table, column=column, row=row))

    def open(self, text: str | None, *, table: str, column: str, row: str) -> str | None:
        """Read a value.

        Raises:
            ConfigError: it is sealed and no key, or another one, is configured.
            StorageError: it was changed, or moved from another place.
        """
        if text is None or not is_sealed(text):
            return text
        if self.key is None:
            raise ConfigError(f"{table}.{column} is encrypted, but PRECEPTOR_ENCRYPTION_KEY is not set. Set it.")
        return open_sealed(text, key=self.key, context=Context(table=table, column=column, row=row))


def make_cipher(settings: Settings) -> TextCipher:
    """The cipher of this installation: its first secret seals, every one opens."""
    secrets = settings.encryption_secrets
    return TextCipher(load_keyset(secrets) if secrets else None)
