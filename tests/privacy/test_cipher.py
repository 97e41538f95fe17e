"""A sealed field opens in its own place under a known key, and nowhere else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preceptor.errors import ConfigError, StorageError
from preceptor.privacy.cipher import Context, blind_index, derive_key, is_sealed, load_keyset, open_sealed, rewrap, seal

OLD, NEW = "an old secret of some length", "a new secret of some length"
HERE = Context("rlhf_feedback", "user_query", "fb_1")


@given(st.text())
def test_any_text_comes_back(plaintext: str) -> None:
    keys = load_keyset([OLD])
    sealed = seal(plaintext, key=keys, context=HERE)
    assert is_sealed(sealed)
    assert sealed.isascii()
    assert open_sealed(sealed, key=keys, context=HERE) == plaintext


def test_plaintext_is_not_in_the_sealed_form_and_two_seals_differ() -> None:
    keys = load_keyset([OLD])
    first, second = (seal("lisinopril", key=keys, context=HERE) for _ in range(2))
    assert "lisinopril" not in first
    assert first.split(":")[3:] != second.split(":")[3:]


@pytest.mark.parametrize(
    "elsewhere",
    [
        Context("rlhf_preferences", "user_query", "fb_1"),
        Context("rlhf_feedback", "comments", "fb_1"),
        Context("rlhf_feedback", "user_query", "fb_2"),
    ],
)
def test_a_moved_ciphertext_does_not_open(elsewhere: Context) -> None:
    keys = load_keyset([OLD])
    sealed = seal("text", key=keys, context=HERE)
    with pytest.raises(StorageError, match="does not open"):
        open_sealed(sealed, key=keys, context=elsewhere)


@pytest.mark.parametrize("part", [3, 4])
def test_a_flipped_bit_is_noticed(part: int) -> None:
    keys = load_keyset([OLD])
    parts = seal("some text", key=keys, context=HERE).split(":")
    parts[part] = ("B" if parts[part][0] != "B" else "C") + parts[part][1:]
    with pytest.raises(StorageError):
        open_sealed(":".join(parts), key=keys, context=HERE)


@pytest.mark.parametrize("torn", ["enc:v1:", "enc:v1:abc", "enc:v1:a:b:c", "plain", "enc:v1:a:%%%:###"])
def test_torn_text_is_refused_without_echo(torn: str) -> None:
    with pytest.raises((StorageError, ConfigError)) as caught:
        open_sealed(torn, key=load_keyset([OLD]), context=HERE)
    assert "%%%" not in str(caught.value)


def test_rotation_rewraps_and_leaves_the_body() -> None:
    sealed = seal("text", key=load_keyset([OLD]), context=HERE)
    both = load_keyset([NEW, OLD])
    assert open_sealed(sealed, key=both, context=HERE) == "text"
    renewed = rewrap(sealed, key=both, context=HERE)
    assert renewed.split(":")[4] == sealed.split(":")[4]
    assert renewed.split(":")[2] == both.primary
    assert open_sealed(renewed, key=load_keyset([NEW]), context=HERE) == "text"
    assert rewrap(renewed, key=both, context=HERE) == renewed


def test_a_lost_key_is_named() -> None:
    old = load_keyset([OLD])
    sealed = seal("text", key=old, context=HERE)
    with pytest.raises(ConfigError, match=old.primary):
        open_sealed(sealed, key=load_keyset([NEW]), context=HERE)


def test_short_or_missing_secrets_are_refused() -> None:
    with pytest.raises(ConfigError, match="16"):
        load_keyset(["short"])
    with pytest.raises(ConfigError, match="PRECEPTOR_ENCRYPTION_KEY"):
        load_keyset([])


def test_keys_for_two_purposes_differ_and_do_not_show() -> None:
    assert derive_key(OLD, purpose="a") != derive_key(OLD, purpose="b")
    assert "keys" not in repr(load_keyset([OLD]))
    assert blind_index("sess_1", key=derive_key(OLD, purpose="x")) != blind_index(
        "sess_2", key=derive_key(OLD, purpose="x")
    )
