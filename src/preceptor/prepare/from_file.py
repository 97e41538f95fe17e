"""A JSONL file of feedback, preferences or ready pairs in, a de-identified dataset of pairs out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from preceptor.errors import DataError, InputError
from preceptor.files.jsonl import read_jsonl, text_field
from preceptor.prepare.dataset import Prepared, prepare, to_dataset_dict
from preceptor.prepare.pairs import Judgement, Pair, prompt_key, same_text
from preceptor.prepare.splits import SPLITS, Split, split_prompts
from preceptor.privacy.scrub import Held, Scrubber, load_scrubber

if TYPE_CHECKING:
    from datasets import DatasetDict

_OUTCOMES = ("a", "b", "tie", "both_bad", "cannot_judge")
_TYPES = ("positive", "negative", "neutral")
_BATCH = 32
Progress = Callable[[int, int], None]


def prepare_preference_dataset(feedback_file: str | Path) -> DatasetDict:
    """Make preference pairs of a JSONL file of feedback rows, preference rows, ready pairs, or a mix of them.

    Texts are de-identified. The result has the splits `train`, `test` and, where there is enough, `validation`, each
    with the columns `prompt, chosen, rejected, metadata`; all pairs of one prompt are in one split.

    Raises:
        InputError: the file is missing, empty or half-written, or a row is not usable; names file and line.
        DataError: the rows make no pairs, or pairs for one prompt only.
        ModelError: the model for de-identification is not installed.
    """
    return to_dataset_dict(prepare_file(Path(feedback_file)).pair_rows())


def prepare_file(
    path: Path, *, seed: int = 42, scrubber: Scrubber | None = None, progress: Progress | None = None
) -> Prepared:
    """Do the same and return it in memory, with single labels and prompts."""
    raters: dict[str, str] = {}
    judgements: list[Judgement] = []
    pairs: list[tuple[Pair, Split | None]] = []
    rows = list(read_jsonl(path))
    parsed = [_parse(path, number, row, raters) for number, row in rows]
    cleaned = _clean(path, [(number, item) for (number, _), item in zip(rows, parsed, strict=True)], scrubber, progress)
    for item in cleaned:
        if isinstance(item, Judgement):
            judgements.append(item)
        else:
            pairs.append(item)
    try:
        if not pairs:
            return prepare(judgements, seed=seed)
        made = prepare(judgements, seed=seed) if _any_pair(judgements, seed) else None
        return _with_ready_pairs(pairs, made, seed)
    except DataError as error:
        where = f"{path}, line {rows[0][0]}" if len(rows) == 1 else str(path)
        raise DataError(f"{where}: {error.message}") from None


def _any_pair(judgements: list[Judgement], seed: int) -> bool:
    try:
        return bool(judgements) and bool(prepare(judgements, seed=seed))
    except DataError:
        return False


def _with_ready_pairs(ready: list[tuple[Pair, Split | None]], made: Prepared | None, seed: int) -> Prepared:
    """Split ready pairs as their file says where it says it for all of them, else by prompt."""
    different = [(pair, split) for pair, split in ready if not same_text(pair.chosen, pair.rejected)]
    if not different:
        raise DataError("in every row chosen and rejected are the same text, so there is nothing to learn.")
    own = {prompt_key(pair.prompt): split for pair, split in different}
    consistent = all(own[prompt_key(pair.prompt)] == split for pair, split in different)
    pairs = [pair for pair, _ in different] + ([pair for pair, _ in made.pairs] if made else [])
    given = None not in own.values() and {"train", "test"} <= set(own.values()) and consistent and made is None
    splits = cast("dict[str, Split]", own) if given else split_prompts((pair.prompt for pair in pairs), seed=seed)
    prompts = dict.fromkeys(pair.prompt for pair in pairs)
    return Prepared(
        pairs=tuple((pair, splits[prompt_key(pair.prompt)]) for pair in pairs),
        unpaired=tuple(
            (item, splits.get(prompt_key(item.prompt), "train")) for item, _ in (made.unpaired if made else ())
        ),
        prompts=tuple((prompt, splits[prompt_key(prompt)]) for prompt in prompts),
        judgements=len(ready) + (made.judgements if made else 0),
    )


def _parse(
    path: Path, number: int, row: dict[str, Any], raters: dict[str, str]
) -> Judgement | tuple[Pair, Split | None]:
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
    pair = Pair(
        prompt=text_field(path, number, row, "prompt"),
        chosen=text_field(path, number, row, "chosen"),
        rejected=text_field(path, number, row, "rejected"),
        margin=_number(path, number, known, "margin", 0.0),
        weight=_number(path, number, known, "weight", 1.0),
        instrument="comparison",
        rater=_rater(rater, raters),
        agent_name=known["agent_name"] if isinstance(known.get("agent_name"), str) else None,
        specialty=None,
        is_simulated=known.get("is_simulated") is True,
        sources=(("pair", f"line_{number}", 1),),
    )
    return pair, cast("Split | None", split)


def _clean(
    path: Path,
    items: list[tuple[int, Judgement | tuple[Pair, Split | None]]],
    scrubber: Scrubber | None,
    progress: Progress | None,
) -> list[Judgement | tuple[Pair, Split | None]]:
    """De-identify every row, its texts together; one that cannot be cleaned stops the file."""
    loaded = scrubber or load_scrubber()
    found: list[Judgement | tuple[Pair, Split | None]] = []
    for first in range(0, len(items), _BATCH):
        chunk = items[first : first + _BATCH]
        outcomes = loaded.scrub_records([_texts(item) for _, item in chunk])
        for (number, item), outcome in zip(chunk, outcomes, strict=True):
            if isinstance(outcome, Held):
                raise InputError(f"{path}, line {number}: {outcome.reason}")
            texts: dict[str, Any] = {name: scrubbed.text for name, scrubbed in outcome.items()}
            if isinstance(item, Judgement):
                found.append(replace(item, **texts))
            else:
                found.append((replace(item[0], **texts), item[1]))
        if progress is not None:
            progress(first + len(chunk), len(items))
    return found


def _texts(item: Judgement | tuple[Pair, Split | None]) -> dict[str, str]:
    if isinstance(item, Judgement):
        fields = {name: getattr(item, name) for name in ("prompt", "response_a", "response_b", "correction")}
        return {name: text for name, text in fields.items() if text}
    return {"prompt": item[0].prompt, "chosen": item[0].chosen, "rejected": item[0].rejected}


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
