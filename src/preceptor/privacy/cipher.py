"""Plaintext, keys and the place of a field in; sealed text (``enc:v1:...``) out, and back.

Envelope encryption: each value gets its own 256-bit data key, which seals the value with AES-256-GCM and is itself
wrapped by a key-encryption key. Rotation rewraps 60 bytes and leaves the value untouched. The table, column and row
are associated data of both layers and the key id of the wrap, so a moved or edited ciphertext does not open.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from preceptor.errors import ConfigError, StorageError

PREFIX = "enc:v1:"
MINIMUM_SECRET_CHARACTERS = 16
_NONCE_BYTES = 12
_KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class Context:
    """Where a sealed value lives; the row is named by a value that never changes."""

    table: str
    column: str
    row: str


@dataclass(frozen=True, slots=True)
class Keyset:
    """Key-encryption keys by id; the primary seals, every one opens."""

    primary: str
    keys: dict[str, bytes] = field(repr=False)


def derive_key(secret: str, *, purpose: str) -> bytes:
    """Return 32 bytes for one purpose from a secret (HKDF-SHA256, RFC 5869).

    Raises:
        ConfigError: the secret is shorter than 16 characters.
    """
    if len(secret) < MINIMUM_SECRET_CHARACTERS:
        raise ConfigError(
            f"The encryption key has {len(secret)} characters; give at least {MINIMUM_SECRET_CHARACTERS} random ones."
        )
    info = f"preceptor:{purpose}".encode()
    return HKDF(algorithm=SHA256(), length=_KEY_BYTES, salt=None, info=info).derive(secret.encode())


def key_id(key: bytes) -> str:
    """Return a public name for a key: eight hex digits that do not reveal it."""
    return hmac.new(key, b"preceptor:key-id", hashlib.sha256).hexdigest()[:8]


def load_keyset(secrets: Sequence[str]) -> Keyset:
    """Build a keyset from secrets, the one that seals first, the older ones that still open after it.

    Raises:
        ConfigError: no secret, or one that is too short.
    """
    if not secrets:
        raise ConfigError("No encryption key is configured; set PRECEPTOR_ENCRYPTION_KEY.")
    derived = [derive_key(secret, purpose="field-encryption") for secret in secrets]
    return Keyset(primary=key_id(derived[0]), keys={key_id(key): key for key in derived})


def is_sealed(text: str) -> bool:
    """Tell sealed text from plain text by its prefix."""
    return text.startswith(PREFIX)


def seal(plaintext: str, *, key: Keyset, context: Context) -> str:
    """Return ``enc:v1:<key id>:<wrapped data key>:<ciphertext>`` for one field of one row."""
    data_key = AESGCM.generate_key(bit_length=256)
    body = _encrypt(data_key, plaintext.encode(), _associated(context, None))
    wrapped = _encrypt(key.keys[key.primary], data_key, _associated(context, key.primary))
    return f"{PREFIX}{key.primary}:{_encode(wrapped)}:{_encode(body)}"


def open_sealed(sealed: str, *, key: Keyset, context: Context) -> str:
    """Return the plaintext of a sealed field.

    Raises:
        ConfigError: it was sealed under a key that is not in the keyset; the message names the key id.
        StorageError: it is torn, edited, or was moved from another table, column or row.
    """
    name, wrapped, body = _split(sealed, context)
    data_key = _unwrap(name, wrapped, key, context)
    return _decrypt(data_key, body, _associated(context, None), context).decode()


def rewrap(sealed: str, *, key: Keyset, context: Context) -> str:
    """Return the same value under the primary key; only the 60 bytes of the wrapped data key change."""
    name, wrapped, body = _split(sealed, context)
    if name == key.primary:
        return sealed
    data_key = _unwrap(name, wrapped, key, context)
    renewed = _encrypt(key.keys[key.primary], data_key, _associated(context, key.primary))
    return f"{PREFIX}{key.primary}:{_encode(renewed)}:{_encode(body)}"


def blind_index(value: str, *, key: bytes) -> str:
    """Return a keyed fingerprint for equality search; only for values that cannot be guessed by trying all."""
    return hmac.new(key, value.encode(), hashlib.sha256).hexdigest()


def _associated(context: Context, name: str | None) -> bytes:
    return json.dumps(["preceptor", "v1", context.table, context.column, context.row, name]).encode()


def _encrypt(key: bytes, plaintext: bytes, associated: bytes) -> bytes:
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, plaintext, associated)


def _decrypt(key: bytes, sealed: bytes, associated: bytes, context: Context) -> bytes:
    try:
        return AESGCM(key).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], associated)
    except (InvalidTag, ValueError) as error:
        raise StorageError(
            f"The sealed field {context.table}.{context.column} of row {context.row} does not open: it was edited, "
            "moved from another place, or torn. Restore the row from a backup."
        ) from error


def _unwrap(name: str, wrapped: bytes, key: Keyset, context: Context) -> bytes:
    if name not in key.keys:
        raise ConfigError(
            f"{context.table}.{context.column} is sealed under key {name}, which is not configured; "
            "add the old key after the new one in PRECEPTOR_ENCRYPTION_KEY."
        )
    return _decrypt(key.keys[name], wrapped, _associated(context, name), context)


def _split(sealed: str, context: Context) -> tuple[str, bytes, bytes]:
    parts = sealed.removeprefix(PREFIX).split(":")
    try:
        if not is_sealed(sealed) or len(parts) != 3:
            raise ValueError("not three parts")
        return parts[0], _decode(parts[1]), _decode(parts[2])
    except (ValueError, binascii.Error) as error:
        raise StorageError(
            f"The field {context.table}.{context.column} of row {context.row} is not sealed text; it was torn or "
            "written by another program. Restore the row from a backup."
        ) from error


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _decode(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
