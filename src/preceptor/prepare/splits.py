"""Prompts in, the split of each out: by a keyed hash of the prompt, so that all its pairs land on one side.

A prompt keeps its side when others come or go, so what was held out in one round is not trained on in the next.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from typing import Literal

from preceptor.errors import DataError
from preceptor.prepare.pairs import prompt_key

Split = Literal["train", "validation", "test"]
SPLITS: tuple[Split, ...] = ("train", "validation", "test")


def place(prompt: str, *, seed: int) -> float:
    """Return where a prompt stands between 0 and 1, the same for every way of writing it."""
    digest = hmac.new(f"split:{seed}".encode(), prompt_key(prompt).encode(), hashlib.sha256).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def split_prompts(
    prompts: Iterable[str], *, test_share: float = 0.2, validation_share: float = 0.1, seed: int = 42
) -> dict[str, Split]:
    """Return the split of each prompt by its key; `test` and `train` are never empty.

    Raises:
        DataError: there are fewer than two distinct prompts, or the shares leave nothing to train on.
    """
    if test_share + validation_share >= 1:
        raise DataError("The test and validation shares add up to 1 or more; leave some prompts to train on.")
    places = {prompt_key(prompt): place(prompt, seed=seed) for prompt in prompts}
    if len(places) < 2:
        raise DataError(
            f"There are pairs for {len(places)} prompt only; a dataset needs at least 2, one to train on and one to "
            "hold out. Collect more judgements first."
        )
    held = test_share + validation_share
    found: dict[str, Split] = {
        key: "test" if at < test_share else "validation" if at < held else "train" for key, at in places.items()
    }
    ordered = sorted(places, key=lambda key: (places[key], key))
    if "test" not in found.values():
        found[ordered[0]] = "test"
    if "train" not in found.values():
        found[ordered[-1]] = "train"
    return found
