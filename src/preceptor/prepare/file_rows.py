"""One row of a file of feedback, preferences or ready pairs in, a judgement or a pair with its split out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from preceptor.errors import InputError
from preceptor.files.jsonl import text_field
from preceptor.files.labels import label_of, sides_of
from preceptor.prepare.pairs import Judgement, Pair
from preceptor.prepare.splits import SPLITS, Split

_OUTCOMES = ("a", "b", "tie", "both_bad", "cannot_judge")
_TYPES = ("positive", "negative", "neutral")


def parse_row(
    path: Path, number: int, row: dict[str, Any], raters: dict[str, str]
) -> Judgement | tuple[Pair, Split | None]:
    """Read one row by the fields that it has; `raters` numbers clinicians and grows.

    A ready pair comes with the split that the row names, and is a tie where its label says so.

    Raises:
        InputError: a field is missing or not usable; names file and line.
    """
    if "user_query" in row or "agent_response" in row:
        return _feedback(path, number, row, raters)
    if "response_a" in row or "response_b" in row:
        return _preference(path, number, row, raters)
    return _pair(path, number, row, raters)


def _feedback(path: Path, number: int, row: dict[str, Any], raters: dict[str, str]) -> Judgement:
    rating = row.get("rating")
    if rating is not None and (isinstance(rating, bool) or not isinstance(rating, int) or not 1 <= rating <= 5):
        raise InputError(f"{path}, line {number}: 'rating' must be a whole number from 1 to 5, or null.")
    kind = row.get("feedback_type")
    if kind is not None and kind not in _TYPES:
        raise InputError(f"{path}, line {number}: 'feedback_type' must be positive, negative, neutral or null.")
    thumb = {"positive": 1, "negative": -1}.get(kind or "") if rating is None else None
    instrument = "stars" if rating is not None else "thumbs" if thumb is not None else "comment"
    return Judgement(
        kind="feedback",
        source_id=_name(row.get("feedback_id"), number),
        prompt=text_field(path, number, row, "user_query"),
        response_a=text_field(path, number, row, "agent_response"),
        correction=_optional(path, number, row, "correction"),
        instrument=instrument,
        rating=rating,
        thumb=thumb,
        harm_a=_harm(path, number, row, "harm_severity"),
        rater=_rater(row.get("clinician_id"), raters),
        agent_name=_optional(path, number, row, "agent_name"),
    )


def _preference(path: Path, number: int, row: dict[str, Any], raters: dict[str, str]) -> Judgement:
    outcome = row.get("outcome", row.get("preferred"))
    if outcome not in _OUTCOMES:
        raise InputError(f"{path}, line {number}: 'preferred' must be one of {', '.join(_OUTCOMES)}.")
    return Judgement(
        kind="preference",
        source_id=_name(row.get("preference_id"), number),
        prompt=text_field(path, number, row, "prompt"),
        response_a=text_field(path, number, row, "response_a"),
        response_b=text_field(path, number, row, "response_b"),
        correction=_optional(path, number, row, "correction"),
        outcome=outcome,
        strength=row.get("strength") if row.get("strength") in (1, 2) else None,
        harm_a=_harm(path, number, row, "harm_a"),
        harm_b=_harm(path, number, row, "harm_b"),
        rater=_rater(row.get("clinician_id"), raters),
        agent_name=_optional(path, number, row, "agent_name"),
    )


def _pair(path: Path, number: int, row: dict[str, Any], raters: dict[str, str]) -> tuple[Pair, Split | None]:
    metadata = row.get("metadata")
    if metadata is not None and not isinstance(metadata, dict):
        raise InputError(f"{path}, line {number}: the field 'metadata' is not a JSON object. Correct it and run again.")
    known: Mapping[str, Any] = metadata or {}
    split = known.get("split")
    if split is not None and split not in SPLITS:
        raise InputError(f"{path}, line {number}: metadata.split must be one of {', '.join(SPLITS)}.")
    rater = known.get("rater", known.get("clinician_id"))
    label = label_of(path, number, known)
    chosen, rejected = (text_field(path, number, row, side) for side in sides_of(label))
    pair = Pair(
        prompt=text_field(path, number, row, "prompt"),
        chosen=chosen,
        rejected=rejected,
        margin=_number(path, number, known, "margin", 0.0),
        weight=_number(path, number, known, "weight", 1.0),
        label=max(label, 1.0 - label),
        instrument="comparison",
        rater=_rater(rater, raters),
        agent_name=known["agent_name"] if isinstance(known.get("agent_name"), str) else None,
        specialty=None,
        is_simulated=known.get("is_simulated") is True,
        sources=(("pair", f"line_{number}", 1),),
    )
    return pair, cast("Split | None", split)


def _rater(value: object, raters: dict[str, str]) -> str | None:
    """Number raters as they appear: a clinician's own number does not leave the file."""
    return None if value is None else raters.setdefault(str(value), f"rater_{len(raters) + 1}")


def _name(value: object, number: int) -> str:
    return str(value) if isinstance(value, str) and value else f"line_{number}"


def _optional(path: Path, number: int, row: dict[str, Any], name: str) -> str | None:
    value = row.get(name)
    if value is not None and not isinstance(value, str):
        raise InputError(f"{path}, line {number}: the field '{name}' is not text. Correct it and run again.")
    return value or None


def _harm(path: Path, number: int, row: dict[str, Any], name: str) -> int | None:
    value = row.get(name)
    if value is not None and (isinstance(value, bool) or value not in (0, 1, 2, 3)):
        raise InputError(f"{path}, line {number}: '{name}' must be 0, 1, 2, 3 or null.")
    return value


def _number(path: Path, number: int, known: Mapping[str, Any], name: str, default: float) -> float:
    value = known.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise InputError(f"{path}, line {number}: metadata.{name} must be a number, 0 or more.")
    return float(value)
