"""The metadata of a row of preference pairs in; which of its answers is called the better one, out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from preceptor.errors import InputError

TIE = 0.5
"""The label of a tie: either answer is as likely the better one."""


def label_of(path: Path, number: int, metadata: Mapping[str, Any]) -> float:
    """How likely `chosen` is the better answer, as `metadata.label` says; 1 where it says nothing.

    Raises:
        InputError: the label is no number from 0 to 1; names the file and the line.
    """
    label = metadata.get("label")
    if label is None:
        return 1.0
    if isinstance(label, bool) or not isinstance(label, int | float) or not 0 <= label <= 1:
        raise InputError(f"{path}, line {number}: metadata.label must be a number from 0 to 1, {TIE} for a tie.")
    return float(label)


def sides_of(label: float) -> tuple[str, str]:
    """The fields of the likelier and of the less likely answer; those of a tie stay in their order."""
    return ("rejected", "chosen") if label < TIE else ("chosen", "rejected")
