"""A unit's pseudonym and an experiment's seed in, its arm out: the same arm on every machine, for ever."""

from __future__ import annotations

import hashlib
import hmac
import random
from typing import Literal

from preceptor.errors import InputError

Arm = Literal["control", "treatment"]
CONTROL: Arm = "control"
TREATMENT: Arm = "treatment"
BLOCK_SIZES = (4, 6)


def unit_pseudonym(clinician_id: int, key: bytes) -> str:
    """The name under which a clinician takes part: 32 hex digits that only the holder of `key` can make again."""
    return hmac.new(key, f"experiment-unit:{clinician_id}".encode(), hashlib.sha256).hexdigest()[:32]


def bucket(seed: str, unit: str) -> float:
    """GrowthBook's hash, version 2: a number in [0, 1) in steps of 1/10000 (growthbook spec 0.7.1).

    Version 1 correlates neighboring ids and is not offered.
    """
    return _fnv32a(str(_fnv32a(seed + unit))) % 10_000 / 10_000


def hashed_arm(seed: str, unit: str, *, coverage: float) -> Arm | None:
    """Control in [0, c/2), treatment in [0.5, 0.5 + c/2), None outside.

    Raising the coverage c only adds units, equally to both arms; nobody changes arm.
    """
    _check_coverage(coverage)
    place = bucket(seed, unit)
    if place < coverage / 2:
        return CONTROL
    if 0.5 <= place < 0.5 + coverage / 2:
        return TREATMENT
    return None


def is_enrolled(seed: str, unit: str, *, coverage: float) -> bool:
    """Whether a unit takes part when arms come from blocks; independent of the arm, and only ever grows with c."""
    _check_coverage(coverage)
    return bucket(f"{seed}:enroll", unit) < coverage


def block_arm(seed: str, stratum: str, position: int) -> Arm:
    """The arm of the `position`-th unit (from 0) of a stratum: permuted blocks of 4 or 6, each half and half.

    With few clinicians a hash can put 8 of 12 in one arm; blocks keep the arms within three of each other.
    """
    if position < 0:
        raise InputError(f"A position in a stratum counts from 0, got {position}.")
    stream = random.Random(f"{seed}|{stratum}")
    filled = 0
    while True:
        size = stream.choice(BLOCK_SIZES)
        block: list[Arm] = [CONTROL, TREATMENT] * (size // 2)
        stream.shuffle(block)
        if position < filled + size:
            return block[position - filled]
        filled += size


def _check_coverage(coverage: float) -> None:
    if not 0 < coverage <= 1:
        raise InputError(f"Coverage is a share above 0 and at most 1, got {coverage}.")


def _fnv32a(text: str) -> int:
    value = 0x811C9DC5
    for byte in text.encode():
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    return value
